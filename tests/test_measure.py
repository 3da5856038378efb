"""What is read from the autograd graph, against plain autograd and closed forms; and networks of every kind."""
# B batch, T time, D features

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import unvanish as uv
from unvanish.core.reading import Reading, mean_reading
from unvanish.doctor.graph import layers_behind, names_of
from unvanish.doctor.measure import gradient_norms, listen, reading, spread


def read(model: nn.Module, *inputs: Any, loss: Callable[[Any], Tensor] = lambda out: out.square().mean()) -> Reading:
    value = loss(model(*inputs))
    seen = listen([value], names_of(model))
    value.backward()
    return reading([seen], gradient_norms(seen.layers))


def test_three_layers_by_hand_in_float64() -> None:
    torch.manual_seed(0)
    w1, w2, w3 = (torch.randn(5, 5, dtype=torch.float64, requires_grad=True) for _ in range(3))
    x = torch.randn(8, 5, dtype=torch.float64)
    z1 = x @ w1.T
    h1 = z1.sigmoid()
    z2 = h1 @ w2.T
    h2 = z2.sigmoid()
    z3 = h2 @ w3.T
    dz = torch.autograd.grad(z3.square().mean(), [z1, z2, z3, w1])

    model = nn.Sequential(*(layer for _ in range(2) for layer in (nn.Linear(5, 5, bias=False), nn.Sigmoid())))
    model.append(nn.Linear(5, 5, bias=False))
    model.double()
    with torch.no_grad():
        for layer, weight in zip((model[0], model[2], model[4]), (w1, w2, w3), strict=True):
            layer.weight.copy_(weight)
    one = read(model, x)

    assert one.layers == ("0", "2", "4")
    np.testing.assert_allclose(one.backward_norm_L, [g.norm().item() for g in dz[:3]], rtol=1e-5)
    np.testing.assert_allclose(one.backward_rms_L, [g.square().mean().sqrt().item() for g in dz[:3]], rtol=1e-5)
    np.testing.assert_allclose(one.activation_rms_L[:2], [h.square().mean().sqrt().item() for h in (h1, h2)], rtol=1e-5)
    assert one.gradient_norm_L[0] == pytest.approx(dz[3].norm().item(), rel=1e-5)


def test_a_loss_of_half_the_size_halves_every_backward_value_and_no_factor() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(16, 6)
    whole, half = read(model, x), read(model, x, loss=lambda out: out.square().mean() / 2)
    np.testing.assert_allclose(half.backward_norm_L, whole.backward_norm_L / 2, rtol=1e-5)
    np.testing.assert_allclose(half.backward_factor_L, whole.backward_factor_L, rtol=1e-5)
    np.testing.assert_allclose(half.forward_factor_L, whole.forward_factor_L, rtol=1e-5)


def test_spread_is_the_standard_deviation_between_inputs() -> None:
    torch.manual_seed(0)
    offset = torch.randn(64) * 1000  # of each unit, the same for every input
    h_BD = offset + 0.01 * torch.randn(20_000, 64)
    assert spread(h_BD).item() == pytest.approx(0.01, rel=0.02)
    assert spread(offset.expand(32, -1)).item() == 0


def test_orthogonal_layers_pass_the_backward_signal_on_whole() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.utils.parametrizations.orthogonal(nn.Linear(16, 16, bias=False)) for _ in range(6)))
    one = read(model, torch.randn(32, 16))
    np.testing.assert_allclose(one.backward_factor_L[:-1], 1, rtol=1e-4)


def test_relu_layers_at_he_variance_keep_the_signal_and_at_half_of_it_lose_half_of_the_power() -> None:
    torch.manual_seed(0)
    for variance, factor in ((2.0, 1.0), (1.0, math.sqrt(1 / 2))):  # He et al. 2015, eq. 14
        layers: list[nn.Module] = []
        for _ in range(6):
            linear = nn.Linear(1024, 1024, bias=False)
            nn.init.normal_(linear.weight, 0, math.sqrt(variance / 1024))
            layers += [linear, nn.ReLU()]
        one = read(nn.Sequential(*layers, nn.Linear(1024, 4)), torch.randn(64, 1024))
        assert np.exp(np.log(one.backward_factor_L[:5]).mean()) == pytest.approx(factor, rel=0.05)


class Functional(nn.Module):
    """Activations as functions, as methods, in place; weights as bare parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.bare = nn.Parameter(torch.randn(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.first(x), inplace=True)
        h = self.second(h).tanh_()
        return torch.sigmoid(h @ self.bare)


def test_functional_activations_are_found() -> None:
    one = read(Functional(), torch.randn(32, 6))
    assert one.layers == ("first", "second", "bare")
    assert np.isfinite(one.dead_L[0])
    assert np.isfinite(one.saturated_L[1:]).all()
    assert np.isnan(one.saturated_L[0])


def test_convolutions_count_channels_as_units() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    with torch.no_grad():
        model[1].bias[:2] = -100  # pyright: ignore
    one = read(model, torch.randn(8, 1, 10, 10))
    assert one.layers == ("0", "3")
    assert one.dead_L[0] == 0.5


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU], ids=str)
def test_a_recurrent_layer_has_a_backward_signal_for_every_time_step(kind: type[nn.RNNBase]) -> None:
    from unvanish.doctor.untouched import step_by_step

    model = kind(3, 5, batch_first=True)
    with step_by_step():
        one = read(model, torch.randn(4, 7, 3), loss=lambda out: out[0][:, -1].square().mean())
    assert "weight_hh_l0" in one.layers
    uses = one.through_time["weight_hh_l0"]
    assert len(uses) in (6, 7)  # the first has a state of zeros, which some kernels leave out
    assert (uses > 0).all()
    assert uses[0] < uses[-1]  # from the past little comes back


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 11, bias=False)
        self.out.weight = self.words.weight  # tied

    def forward(self, tokens: Tensor) -> dict[str, Any]:
        h = self.words(tokens)
        h, _ = self.attend(h, h, h)
        return {"nested": [self.out(h)], "shape": tuple(h.shape)}


def test_attention_embeddings_tied_weights_and_nested_outputs() -> None:
    one = read(Attention(), torch.randint(0, 11, (4, 6)), loss=lambda out: out["nested"][0].square().mean())
    assert one.layers == ("words", "attend.in_proj_weight", "attend.out_proj")
    assert len(one.through_time["words"]) == 2  # it is used at both ends


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.twice(self.twice(x).relu()).relu())


def test_a_module_called_twice_is_one_layer_of_two_calls_and_one_never_called_is_none() -> None:
    model = Shared()
    layers = layers_behind([model(torch.randn(4, 6))], names_of(model))
    assert [(layer.name, len(layer.calls)) for layer in layers] == [("twice", 2), ("head", 1)]


def test_frozen_layers_below_the_graph_are_not_there_and_those_above_still_pass_the_signal() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    model[0].requires_grad_(False)
    assert read(model, torch.randn(4, 6)).layers == ("2", "4")


def test_weight_norm_is_named_by_its_module() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 6)), nn.ReLU(), nn.Linear(6, 2))
    assert read(model, torch.randn(4, 6)).layers == ("0", "2")


def test_half_precision_is_measured_in_float32() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    x = torch.randn(16, 6)
    whole = read(model, x)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        value = model(x).square().mean()
    seen = listen([value], names_of(model))
    value.backward()
    half = reading([seen], gradient_norms(seen.layers))
    assert half.layers == whole.layers
    np.testing.assert_allclose(half.backward_norm_L, whole.backward_norm_L, rtol=0.05)


def test_a_mean_over_readings_counts_only_what_was_measured() -> None:
    nan = float("nan")

    def one(*rms: float) -> Reading:
        column = np.array(rms)
        return Reading(tuple("abc"[: len(rms)]), *[column] * 8)

    mean = mean_reading([one(1.0, nan, 3.0), one(3.0, 5.0, nan)])
    np.testing.assert_allclose(mean.activation_rms_L, [2, 5, 3])


def test_the_public_names_are_there() -> None:
    assert {"check", "watch", "assert_healthy", "Diagnosis", "LightningWatch"} <= set(dir(uv))
