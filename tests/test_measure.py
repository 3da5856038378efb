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
from unvanish.core.table import Table, joined
from unvanish.measure.graph.layers import layers_behind, names_of
from unvanish.measure.graph.passes import How, observe, of_gradients
from unvanish.measure.graph.recorder import GraphRecorder, row_of, table_of
from unvanish.measure.schedule import every
from unvanish.measure.signal import spread_over_batch


def read(model: nn.Module, *inputs: Any, loss: Callable[[Any], Tensor] = lambda out: out.square().mean()) -> Table:
    value = loss(model(*inputs))
    seen = observe([value], How(names_of(model)))
    value.backward()
    return table_of([row_of(0, [seen], of_gradients(seen.layers))])[0]


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
    np.testing.assert_allclose(one.row("backward_norm"), [g.norm().item() for g in dz[:3]], rtol=1e-5)
    np.testing.assert_allclose(one.row("backward_rms"), [g.square().mean().sqrt().item() for g in dz[:3]], rtol=1e-5)
    np.testing.assert_allclose(
        one.row("activation_rms")[:2], [h.square().mean().sqrt().item() for h in (h1, h2)], rtol=1e-5
    )
    assert one.row("weight_gradient_norm")[0] == pytest.approx(dz[3].norm().item(), rel=1e-5)


def test_a_loss_of_half_the_size_halves_every_backward_value_and_no_factor() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(16, 6)
    whole, half = read(model, x), read(model, x, loss=lambda out: out.square().mean() / 2)
    np.testing.assert_allclose(half.row("backward_norm"), whole.row("backward_norm") / 2, rtol=1e-5)
    np.testing.assert_allclose(
        half.factors("backward_norm", backward=True), whole.factors("backward_norm", backward=True), rtol=1e-5
    )
    np.testing.assert_allclose(half.factors("spread"), whole.factors("spread"), rtol=1e-5)


def test_spread_is_the_standard_deviation_between_inputs() -> None:
    torch.manual_seed(0)
    offset = torch.randn(64) * 1000  # of each unit, the same for every input
    h_BD = offset + 0.01 * torch.randn(20_000, 64)
    assert spread_over_batch(h_BD) == pytest.approx(0.01, rel=0.02)
    assert spread_over_batch(offset.expand(32, -1)) < 1e-6 * 1000


def test_orthogonal_layers_pass_the_backward_signal_on_whole() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.utils.parametrizations.orthogonal(nn.Linear(16, 16, bias=False)) for _ in range(6)))
    one = read(model, torch.randn(32, 16))
    np.testing.assert_allclose(one.factors("backward_norm", backward=True)[:-1], 1, rtol=1e-4)


def test_relu_layers_at_he_variance_keep_the_signal_and_at_half_of_it_lose_half_of_the_power() -> None:
    torch.manual_seed(0)
    for variance, factor in ((2.0, 1.0), (1.0, math.sqrt(1 / 2))):  # He et al. 2015, eq. 14
        layers: list[nn.Module] = []
        for _ in range(6):
            linear = nn.Linear(1024, 1024, bias=False)
            nn.init.normal_(linear.weight, 0, math.sqrt(variance / 1024))
            layers += [linear, nn.ReLU()]
        one = read(nn.Sequential(*layers, nn.Linear(1024, 4)), torch.randn(64, 1024))
        assert np.exp(np.log(one.factors("backward_norm", backward=True)[:5]).mean()) == pytest.approx(factor, rel=0.05)


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
    assert np.isfinite(one.row("dead")[0])
    assert np.isfinite(one.row("saturated")[1:]).all()
    assert np.isnan(one.row("saturated")[0])


def test_convolutions_count_channels_as_units() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    with torch.no_grad():
        model[1].bias[:2] = -100  # pyright: ignore
    one = read(model, torch.randn(8, 1, 10, 10))
    assert one.layers == ("0", "3")
    assert one.row("dead")[0] == 0.5


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU], ids=str)
def test_a_recurrent_layer_has_a_backward_signal_for_every_time_step(kind: type[nn.RNNBase]) -> None:
    from unvanish.diagnosis.trial.isolation import step_by_step

    model = kind(3, 5, batch_first=True)
    with step_by_step():
        one = read(model, torch.randn(4, 7, 3), loss=lambda out: out[0][:, -1].square().mean())
    assert "weight_hh_l0" in one.layers
    uses = one.over_calls["weight_hh_l0"]
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
    assert len(one.over_calls["words"]) == 2  # it is used at both ends


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
    seen = observe([value], How(names_of(model)))
    value.backward()
    half = table_of([row_of(0, [seen], of_gradients(seen.layers))])[0]
    assert half.layers == whole.layers
    np.testing.assert_allclose(half.row("backward_norm"), whole.row("backward_norm"), rtol=0.05)


def test_a_mean_over_steps_counts_only_what_was_measured() -> None:
    nan = float("nan")

    def one(step: int, *rms: float) -> Table:
        return Table(tuple("abc"[: len(rms)]), (step,), {"activation_rms": np.array([rms])})

    both = joined([one(0, 1.0, nan, 3.0), one(1, 3.0, 5.0)])
    assert both.steps == (0, 1)
    np.testing.assert_allclose(both.mean(1).row("activation_rms"), [2, 5, 3])


def test_a_batch_that_holds_the_same_samples_twice_has_the_spread_of_one() -> None:
    torch.manual_seed(0)
    h = torch.randn(64, 32)
    assert spread_over_batch(torch.cat([h, h])) == pytest.approx(spread_over_batch(h), rel=1e-6)
    exact = (h.double() - h.double().mean(0)).square().mean().sqrt().item()
    assert spread_over_batch(h) == pytest.approx(exact, rel=1e-6)


def test_two_backward_passes_through_one_forward_pass_count_together() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(16, 6)
    whole = read(model, x)
    model.zero_grad()
    value = model(x).square().mean()
    seen = observe([value], How(names_of(model)))
    (value * 0.25).backward(retain_graph=True)
    (value * 0.75).backward()
    twice = table_of([row_of(0, [seen], of_gradients(seen.layers))])[0]
    for quantity in ("backward_norm", "backward_rms", "weight_gradient_norm"):
        np.testing.assert_allclose(twice.row(quantity), whole.row(quantity), rtol=1e-5)


def test_a_gradient_by_the_input_on_the_way_is_no_backward_pass_of_the_weights() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    x = torch.randn(16, 3, requires_grad=True)
    u = model(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    loss = du.square().mean() + u.square().mean()
    z = model[0](x.detach()).detach().requires_grad_()
    seen = observe([loss], How(names_of(model)))
    loss.backward()
    first = table_of([row_of(0, [seen])])[0]
    assert z.shape == (16, 8)
    assert np.isfinite(first.row("backward_norm")).all()
    # By hand: z enters the loss through u and through du = W1ᵀ (w2 φ′(z)).
    w1, w2, b2 = model[0].weight.detach(), model[2].weight.detach(), model[2].bias.detach()
    u_z = z.tanh() @ w2.T + b2
    du_z = ((1 - z.tanh().square()) * w2) @ w1
    (dz,) = torch.autograd.grad(du_z.square().mean() + u_z.square().mean(), z)
    calls = first.over_calls["0"] if "0" in first.over_calls else np.array([first.row("backward_norm")[0]])
    assert np.min(np.abs(calls / dz.norm().item() - 1)) < 1e-4


@pytest.mark.parametrize(
    ("conv", "shape"), [(nn.Conv1d, (8, 3, 20)), (nn.Conv2d, (8, 3, 9, 9)), (nn.Conv3d, (8, 3, 5, 5, 5))], ids=str
)
def test_the_units_of_a_convolution_are_its_channels(conv: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(conv(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    with torch.no_grad():
        model(torch.randn(shape))
        model[0].bias[:3] = -100
    assert read(model, torch.randn(shape)).row("dead")[0] == 0.75


def test_the_units_of_a_layer_over_tokens_are_its_features() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].bias[:6] = -100
    one = read(model, torch.randn(4, 5, 6))
    assert one.row("dead")[0] == 0.75
    assert one.units == {"0": 8, "2": 2}


def test_layers_of_a_block_have_its_name() -> None:
    setup = uv.baseline(hidden=(8, 8)).with_remedies(uv.NormalizeInside(learned=True)).setup()
    names = names_of(setup.model, (*setup.blocks, (setup.output,)))
    recorder = GraphRecorder(setup.model, every(1), names=names)
    value = setup.model(torch.rand(16, 784)).square().mean()
    recorder.after_forward([value])
    value.backward()
    recorder.after_step()
    assert recorder.take().layers == setup.layers == ("hidden1", "hidden2", "output")


def test_the_public_names_are_there() -> None:
    assert {"check", "watch", "assert_healthy", "Diagnosis", "LightningWatch"} <= set(dir(uv))
