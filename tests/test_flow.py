"""What a training measures, against plain autograd and closed forms, by every backend."""

import gc
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import unvanish as uv
from compare import in_order
from unvanish.core.table import Table
from unvanish.measure.quantities import ALL as QUANTITIES
from unvanish.measure.region import live_region
from unvanish.measure.schedule import every
from unvanish.train.batches import Batch
from unvanish.train.group import Run
from unvanish.train.images import ImageData
from unvanish.train.leaves import leaf_sequence
from unvanish.train.loop import Ended, EpochDone, train
from unvanish.train.native.form import uncovered
from unvanish.train.native.library import loaded, missing
from unvanish.train.native.sites import find_sites
from unvanish.train.native.steps import NativeSteps
from unvanish.train.step import Steps, plain_steps

CPU = torch.device("cpu")
BACKENDS = ["plain", pytest.param("native", marks=pytest.mark.skipif(missing() is not None, reason=str(missing())))]


def steps_of(setup: uv.Setup, backend: str, optimizer: torch.optim.Optimizer, batch: int) -> Steps:
    if backend == "native":
        leaves, library = leaf_sequence(setup.model), loaded()
        assert leaves is not None
        assert not isinstance(library, str)
        assert uncovered(leaves, type(optimizer), optimizer.param_groups[0], setup.loss_fn) is None
        return NativeSteps(leaves, optimizer, find_sites(setup, setup.model), setup.layers, every(1), batch, library)
    blocks = (*setup.blocks, (setup.output,))
    return plain_steps(setup.model, setup.model, setup.loss_fn, optimizer, every(1), blocks=blocks, layers=setup.layers)


def measured(setup: uv.Setup, x, y, lr: float = 0.1, backend: str = "plain") -> dict[str, np.ndarray]:
    steps = steps_of(setup, backend, torch.optim.SGD(setup.model.parameters(), lr), len(y))
    steps.run(in_order(x, y, len(y)) if backend == "native" else [Batch(x, y)])
    (table,) = steps.take()
    assert table.layers == setup.layers
    return {quantity.name: table.row(quantity.name) for quantity in QUANTITIES}


def three_layers(activation: nn.Module, dtype=torch.float64) -> uv.Setup:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 5), activation, nn.Linear(5, 4), activation.__class__(), nn.Linear(4, 3))
    return uv.Setup.of(net.to(dtype), torch.zeros(1, 6, dtype=dtype))


@pytest.mark.parametrize("batch", [9, 500])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "activation", [nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.GELU(), nn.Softplus(), nn.ELU()], ids=str
)
def test_every_quantity_is_what_autograd_says(activation, backend, batch):
    setup = three_layers(activation, torch.float64)
    torch.manual_seed(7)
    x, y = torch.randn(batch, 6, dtype=torch.float64), torch.randint(0, 3, (batch,))
    net = setup.model
    z1 = net[0](x)
    h1 = net[1](z1)
    z2 = net[2](h1)
    h2 = net[3](z2)
    z3 = net[4](h2)
    loss = setup.loss_fn(z3, y)
    dz = torch.autograd.grad(loss, (z1, z2, z3), retain_graph=True)
    dw = torch.autograd.grad(loss, (net[0].weight, net[2].weight, net[4].weight))
    weights = [net[i].weight.detach().clone() for i in (0, 2, 4)]
    if backend == "native":
        setup, x = three_layers(activation, torch.float32), x.float()
    seen = measured(setup, x, y, lr=0.1, backend=backend)

    checked = set()

    def agree(name, values):
        checked.add(name)
        rtol, atol = (2e-5, 1e-7) if backend == "native" else (1e-9, 0)
        np.testing.assert_allclose(seen[name], [value.item() for value in values], rtol=rtol, atol=atol, err_msg=name)

    agree("backward_rms", [g.square().mean().sqrt() for g in dz])
    agree("backward_norm", [g.norm() for g in dz])
    agree("weight_gradient_norm", [g.norm() for g in dw])
    agree("update_norm", [0.1 * g.norm() for g in dw])
    agree("update_ratio", [0.1 * g.norm() / w.norm() for g, w in zip(dw, weights, strict=True)])
    agree("pre_activation_mean", [z.mean() for z in (z1, z2, z3)])
    agree("pre_activation_std", [z.std(unbiased=False) for z in (z1, z2, z3)])
    agree("activation_mean", [h.mean() for h in (h1, h2, z3)])
    agree("activation_std", [h.std(unbiased=False) for h in (h1, h2, z3)])
    agree("activation_rms", [h.square().mean().sqrt() for h in (h1, h2, z3)])
    agree("spread", [(h - h.mean(0)).square().mean().sqrt() for h in (h1, h2, z3)])
    assert {"saturated", "dead", *checked} == {quantity.name for quantity in QUANTITIES}


def test_halving_the_loss_halves_the_backward_signal_and_nothing_forward():
    whole = three_layers(nn.Tanh())
    half = replace(whole, loss_fn=lambda out, y: whole.loss_fn(out, y) / 2)
    x, y = torch.randn(9, 6, dtype=torch.float64), torch.randint(0, 3, (9,))
    a, b = measured(three_layers(nn.Tanh()), x, y), measured(half, x, y)
    np.testing.assert_allclose(b["backward_rms"], a["backward_rms"] / 2, rtol=1e-12)
    np.testing.assert_allclose(b["weight_gradient_norm"], a["weight_gradient_norm"] / 2, rtol=1e-12)
    np.testing.assert_array_equal(b["activation_std"], a["activation_std"])


def test_an_in_place_activation_measures_the_same():
    def net(inplace):
        torch.manual_seed(3)
        layers = nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace), nn.Linear(5, 4), nn.ReLU(inplace), nn.Linear(4, 3))
        return uv.Setup.of(layers, torch.zeros(1, 6))

    x, y = torch.randn(9, 6), torch.randint(0, 3, (9,))
    a, b = measured(net(False), x, y), measured(net(True), x, y)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [
        (nn.Sigmoid(), -math.log(1 / 0.0126634 - 1), math.log(1 / 0.0126634 - 1)),  # s(1−s) = 0.25/20
        (nn.Tanh(), -math.atanh(math.sqrt(0.95)), math.atanh(math.sqrt(0.95))),  # 1−t² = 1/20
        (nn.ReLU(), 0, math.inf),
        (nn.ReLU6(), 0, math.inf),  # as a ReLU
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


@pytest.mark.parametrize("backend", BACKENDS)
def test_saturated_and_dead_fractions_of_made_up_units(backend):
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.zero_()
        net[0].bias.copy_(torch.tensor([-1.0, 1, -1, 1]))  # two of four never active
        net[2].bias.copy_(torch.tensor([10.0, 0, -10]))  # two of three saturated, on every input
    setup = uv.Setup.of(net, torch.zeros(1, 2))
    seen = measured(setup, torch.randn(8, 2), torch.randint(0, 2, (8,)), backend=backend)
    np.testing.assert_allclose(seen["dead"][:2], [1 / 2, 2 / 3])
    assert math.isnan(seen["dead"][2])  # nothing flat behind the output layer
    assert math.isnan(seen["saturated"][0])  # ReLU does not saturate
    np.testing.assert_allclose(seen["saturated"][1], 2 / 3)


@pytest.mark.parametrize("method", ["baseline", "2", "3", "4a-affine", "4b", "5", "6"])
def test_training_is_the_same_bit_for_bit_with_and_without(method, data):
    def weights(schedule, fast):
        recipe = uv.method(method, samples=1500)
        runs = [Run(recipe.uninitialised(), 3, 42)]
        rows, end = [], None
        for (_, item), *_ in train(runs, ImageData(data_subset, 512), schedule=schedule, device=CPU, fast=fast):
            if isinstance(item, EpochDone):
                rows.append((item.row.train_loss, item.row.val_loss))
                assert bool(item.measured) == schedule(0)
            else:
                end = item
        assert isinstance(end, Ended)
        return rows, end.weights

    data_subset = replace(data, train=data.train.first(1500))
    for fast in (True, False):
        rows, silent = weights(lambda step: False, fast)
        rows_measured, loud = weights(every(1), fast)
        assert rows == rows_measured
        assert silent.keys() == loud.keys()
        assert all(torch.equal(silent[name], loud[name]) for name in silent)


def test_the_series_of_a_run(small):
    record = uv.run(small, measure_every=10)
    for series in record.series.values():
        assert series.layers == ("hidden1", "hidden2", "hidden3", "output")
        assert series.steps == ((1, 0), (1, 1), (1, 2))  # 0: at initialisation
        assert series.values.shape == (3, 4)
    # On two steps an epoch, measured every 10th, epoch 1 is measured at its first step only: the start.
    signal = record.series["backward_rms"].values
    np.testing.assert_array_equal(signal[0], signal[1])
    assert np.isfinite(signal).all()


def leaf_of(parameter: nn.Parameter):
    """Its node in the graph of each pass: the same one as long as one of these graphs lives."""
    return parameter.view_as(parameter).grad_fn.next_functions[0][0]


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.SiLU(), nn.Hardtanh()], ids=str)
def test_nothing_of_a_measured_step_s_graph_outlives_it(activation, watched):
    """Neither memory, nor, on CUDA, nodes that belong to the stream of another step."""
    setup = three_layers(activation)
    optimizer = torch.optim.SGD(setup.model.parameters(), 0.1)
    x, y = torch.rand(9, 6, dtype=torch.float64), torch.arange(9) % 3
    marks = []

    def mark(*_):
        for parameter in setup.model.parameters():
            leaf_of(parameter).metadata["of this step"] = True
            marks.append("of this step" in leaf_of(parameter).metadata)

    gc.disable()  # which would hide a cycle
    try:
        if watched:
            with uv.watch(setup.model, optimizer, every=1):
                output = setup.model(x)
                mark()
                nn.functional.cross_entropy(output, y).backward()
                optimizer.step()
                del output
        else:
            setup.model.register_forward_hook(mark)
            steps_of(setup, "plain", optimizer, len(y)).run([Batch(x, y)])
        left = [name for name, p in setup.model.named_parameters() if "of this step" in leaf_of(p).metadata]
    finally:
        gc.enable()
    assert marks
    assert all(marks)
    assert left == []


def test_absent_and_frozen_layers_have_no_backward_signal():
    record = uv.run(uv.method("6", epochs=1, samples=512))
    signal = {step: row for step, row in zip(record.series["backward_rms"].steps,
                                             record.series["backward_rms"].values, strict=True)}  # fmt: skip
    there = {stage: np.isfinite(signal[stage, 1]).tolist() for stage in (1, 2, 7)}
    assert there[1] == [True, True, False, False, False, False, False, True]
    assert there[2] == [False, False, True, True, False, False, False, True]
    assert there[7] == [True] * 8


def test_the_baseline_s_signal_dies(data):
    signal = uv.run(uv.baseline(epochs=1, samples=512)).series["backward_rms"].values[0]
    assert signal[6] / signal[0] > 1e4


def test_an_update_that_puts_other_memory_in_place_is_seen():
    setup = three_layers(nn.Tanh(), torch.float32)

    class Doubles(torch.optim.SGD):
        def step(self, closure=None):
            for parameter in setup.model.parameters():
                parameter.data = 2 * parameter.data

    steps = steps_of(setup, "plain", Doubles(setup.model.parameters(), 0.1), 9)
    steps.run([Batch(torch.randn(9, 6), torch.randint(0, 3, (9,)))])
    np.testing.assert_allclose(steps.take()[0].row("update_ratio"), 1, rtol=1e-6)


def test_a_table_of_nothing():
    assert Table().mean(0).steps == (0,)
    assert Table().row("dead").shape == (0,)
    assert Table() == Table()


@pytest.mark.parametrize("backend", BACKENDS)
def test_forty_sigmoids_vanish_and_are_still_measured(backend):
    """The squares of what is left are 0 in float32."""
    recipe = uv.baseline(hidden=(32,) * 40)
    setup = recipe.setup()
    exact = recipe.setup()
    exact.model.double()
    x, y = torch.rand(64, 784), torch.randint(0, 10, (64,))
    signal = measured(setup, x, y, backend=backend)["backward_rms"]
    truth = measured(exact, x.double(), y)["backward_rms"]
    kept = truth > 1e-37  # below, float32 itself has nothing left, and denormals are flushed
    assert kept.sum() > 20
    assert truth[kept].min() < 1e-25
    np.testing.assert_allclose(signal[kept], truth[kept], rtol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("scale", "offset"), [(1e-30, 0), (1e-22, 0), (1e-18, 0), (1.0, 0), (1e15, 0), (0.1, 500), (0.1, -500), (0, 0.5)]
)
@pytest.mark.parametrize("batch", [7, 300, 1000])
def test_moments_of_any_size_and_far_from_0(scale, offset, batch, backend):
    """Squares in float32 would be 0 or infinite; E[x²] − E[x]² would cancel."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(1.0), nn.Linear(5, 33))
    with torch.no_grad():
        net[0].bias.zero_()
        net[2].bias.fill_(offset)
    x, y = torch.randn(batch, 6) * scale, torch.randint(0, 33, (batch,))
    z = net(x).detach().double()
    seen = measured(uv.Setup.of(net, torch.zeros(1, 6)), x, y, lr=0.0, backend=backend)
    exact = {
        "pre_activation_mean": z.mean(),
        "pre_activation_std": z.std(unbiased=False),
        "activation_rms": z.square().mean().sqrt(),
        "spread": (z - z.mean(0)).square().mean().sqrt(),
    }
    for name, value in exact.items():
        near_0 = 1e-6 * (scale + abs(offset) * 1e-1)  # the last digits of z itself depend on the BLAS
        assert seen[name][1] == pytest.approx(value.item(), rel=1e-4, abs=near_0), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sample_0_far_from_all_others_does_not_spoil_the_spread(backend):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.LeakyReLU(1.0), nn.Linear(5, 4))
    x, y = torch.randn(500, 6), torch.randint(0, 4, (500,))
    x[0] = 1e5
    h = net[0](x).detach().double()
    seen = measured(uv.Setup.of(net, torch.zeros(1, 6)), x, y, lr=0.0, backend=backend)
    assert seen["spread"][0] == pytest.approx((h - h.mean(0)).square().mean().sqrt().item(), rel=1e-5)


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.ReLU()], ids=str)
@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_is_not_finite_is_infinite_in_the_table_and_not_unmeasured(odd, activation):
    torch.manual_seed(3)
    x, y = torch.randn(9, 6), torch.randint(0, 3, (9,))
    x[4, 2] = odd
    ours, theirs = (
        measured(three_layers(activation, torch.float32), x, y, backend=backend) for backend in ("native", "plain")
    )
    assert ours["pre_activation_mean"][0] == theirs["pre_activation_mean"][0] == math.inf
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, err_msg=name)
