"""The gradient flow, against plain autograd and closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import unvanish as uv
from unvanish.core.schedule import every
from unvanish.core.sites import find_sites, layer_names, live_region
from unvanish.engine.bundle import Alone
from unvanish.engine.flow import Flow
from unvanish.engine.meter import AtOnce, Compiled
from unvanish.engine.step import PlainStep
from unvanish.engine.train import Ended, EpochDone, Plan, train
from unvanish.probes import ALL as PROBES

CPU = torch.device("cpu")


def measured(setup: uv.Setup, x, y, lr: float = 0.1) -> dict[str, np.ndarray]:
    flow = Flow(find_sites(setup, setup.model), PROBES, every(1), layers=len(layer_names(setup)))
    optimizer = torch.optim.SGD(setup.model.parameters(), lr)
    flow.begin(0)
    PlainStep(setup.model, setup.loss).gradients(x, y, flow)
    flow.after_backward()
    optimizer.step()
    flow.after_update()
    return dict(zip(flow.names, flow.take().numpy(), strict=True))


def three_layers(activation: nn.Module, dtype=torch.float64) -> uv.Setup:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 5), activation, nn.Linear(5, 4), activation.__class__(), nn.Linear(4, 3))
    return uv.Setup.of(net.to(dtype), torch.zeros(1, 6, dtype=dtype))


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.GELU()], ids=str)
def test_every_probe_is_what_autograd_says(activation):
    setup = three_layers(activation)
    x, y = torch.randn(9, 6, dtype=torch.float64), torch.randint(0, 3, (9,))
    net = setup.model
    z1 = net[0](x)
    h1 = net[1](z1)
    z2 = net[2](h1)
    h2 = net[3](z2)
    z3 = net[4](h2)
    loss = setup.loss(z3, y)
    dz = torch.autograd.grad(loss, (z1, z2, z3), retain_graph=True)
    dw = torch.autograd.grad(loss, (net[0].weight, net[2].weight, net[4].weight))
    weights = [net[i].weight.detach().clone() for i in (0, 2, 4)]
    seen = measured(setup, x, y, lr=0.1)

    def agree(name, values):
        np.testing.assert_allclose(seen[name], [value.item() for value in values], rtol=1e-9)

    agree("backward_signal", [g.square().mean().sqrt() for g in dz])
    agree("weight_gradient", [g.norm() for g in dw])
    agree("update_ratio", [0.1 * g.norm() / w.norm() for g, w in zip(dw, weights, strict=True)])
    agree("pre_activation_mean", [z.mean() for z in (z1, z2, z3)])
    agree("pre_activation_std", [z.std(unbiased=False) for z in (z1, z2, z3)])
    agree("activation_mean", [h.mean() for h in (h1, h2, z3)])
    agree("activation_std", [h.std(unbiased=False) for h in (h1, h2, z3)])


def test_halving_the_loss_halves_the_backward_signal_and_nothing_forward():
    whole = three_layers(nn.Tanh())
    half = replace(whole, loss=lambda out, y: whole.loss(out, y) / 2)
    x, y = torch.randn(9, 6, dtype=torch.float64), torch.randint(0, 3, (9,))
    a, b = measured(three_layers(nn.Tanh()), x, y), measured(half, x, y)
    np.testing.assert_allclose(b["backward_signal"], a["backward_signal"] / 2, rtol=1e-12)
    np.testing.assert_allclose(b["weight_gradient"], a["weight_gradient"] / 2, rtol=1e-12)
    np.testing.assert_array_equal(b["activation_std"], a["activation_std"])


def test_an_in_place_activation_measures_the_same():
    def net(inplace):
        torch.manual_seed(3)
        layers = nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace), nn.Linear(5, 4), nn.ReLU(inplace), nn.Linear(4, 3))
        return uv.Setup.of(layers, torch.zeros(1, 6))

    x, y = torch.randn(9, 6), torch.randint(0, 3, (9,))
    a, b = measured(net(False), x, y), measured(net(True), x, y)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [
        (nn.Sigmoid(), -math.log(1 / 0.0126634 - 1), math.log(1 / 0.0126634 - 1)),  # s(1−s) = 0.25/20
        (nn.Tanh(), -math.atanh(math.sqrt(0.95)), math.atanh(math.sqrt(0.95))),  # 1−t² = 1/20
        (nn.ReLU(), 0, math.inf),
        (nn.ReLU6(), 0, 6),
        (nn.Hardtanh(), -1, 1),
        (nn.LeakyReLU(0.1), -math.inf, math.inf),
        (nn.Softshrink(), -math.inf, math.inf),
        (nn.Identity(), -math.inf, math.inf),
    ],
    ids=str,
)
def test_where_an_activation_is_flat(activation, low, high):
    region = live_region(activation)
    assert (region.low, region.high) == pytest.approx((low, high), abs=2e-3)


def test_saturated_and_dead_fractions_of_made_up_units():
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.zero_()
        net[0].bias.copy_(torch.tensor([-1.0, 1, -1, 1]))  # two of four never active
        net[2].bias.copy_(torch.tensor([10.0, 0, -10]))  # two of three saturated, on every input
    setup = uv.Setup.of(net, torch.zeros(1, 2))
    seen = measured(setup, torch.randn(8, 2), torch.randint(0, 2, (8,)))
    np.testing.assert_allclose(seen["dead"][:2], [1 / 2, 2 / 3])
    assert math.isnan(seen["dead"][2])  # nothing flat behind the output layer
    assert math.isnan(seen["saturated"][0])  # ReLU does not saturate
    np.testing.assert_allclose(seen["saturated"][1], 2 / 3)


@pytest.mark.parametrize("method", ["baseline", "2", "3", "4a-affine", "4b", "5", "6"])
def test_training_is_the_same_bit_for_bit_with_and_without(method, data):
    def weights(probes, schedule):
        recipe = uv.method(method, samples=1500)
        items = train(
            recipe.uninitialised(), Plan(3, 512, 42), data_subset, probes=probes, schedule=schedule, device=CPU
        )
        rows, end = [], None
        for item in items:
            if isinstance(item, EpochDone):
                rows.append((item.row.train_loss, item.row.val_loss))
            else:
                end = item
        assert isinstance(end, Ended)
        return rows, end.weights

    data_subset = replace(data, train=data.train.first(1500))
    rows, silent = weights((), lambda step: False)
    rows_measured, loud = weights(PROBES, every(1))
    assert rows == rows_measured
    assert silent.keys() == loud.keys()
    assert all(torch.equal(silent[name], loud[name]) for name in silent)


def test_the_series_of_a_run(small):
    record = uv.run(small)
    for series in record.series.values():
        assert series.layers == ("hidden1", "hidden2", "hidden3", "output")
        assert series.steps == ((1, 0), (1, 1), (1, 2))  # 0: at initialisation
        assert series.values.shape == (3, 4)
    # On two steps an epoch, measured every 10th, epoch 1 is measured at its first step only: the start.
    signal = record.series["backward_signal"].values
    np.testing.assert_array_equal(signal[0], signal[1])
    assert np.isfinite(signal).all()


def test_absent_and_frozen_layers_have_no_backward_signal():
    record = uv.run(uv.method("6", epochs=1, samples=512))
    signal = {step: row for step, row in zip(record.series["backward_signal"].steps,
                                             record.series["backward_signal"].values, strict=True)}  # fmt: skip
    there = {stage: np.isfinite(signal[stage, 1]).tolist() for stage in (1, 2, 7)}
    assert there[1] == [True, True, False, False, False, False, False, True]
    assert there[2] == [False, False, True, True, False, False, False, True]
    assert there[7] == [True] * 8


def test_the_baseline_s_signal_dies(data):
    signal = uv.run(uv.baseline(epochs=1, samples=512)).series["backward_signal"].values[0]
    assert signal[6] / signal[0] > 1e4


@pytest.mark.parametrize("meter", [AtOnce(Alone()), Compiled()], ids=lambda meter: type(meter).__name__)
def test_an_update_that_puts_other_memory_in_place_is_seen(meter):
    setup = three_layers(nn.Tanh(), torch.float32)
    flow = Flow(find_sites(setup, setup.model), PROBES, every(1), layers=3, meter=meter)
    flow.begin(0)
    PlainStep(setup.model, setup.loss).gradients(torch.randn(9, 6), torch.randint(0, 3, (9,)), flow)
    flow.after_backward()
    for parameter in setup.model.parameters():
        parameter.data = 2 * parameter.data
    flow.after_update()
    np.testing.assert_allclose(flow.take()[flow.names.index("update_ratio")], 1, rtol=1e-6)


def test_a_flow_of_nothing():
    flow = Flow([], (), every(1), layers=0)
    flow.begin(0)
    flow.after_backward()
    flow.after_update()
    assert flow.take().shape == (0, 0)
