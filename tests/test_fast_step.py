"""The fast step and frozen prefixes: the same weights and the same measurements as the plain way."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import unvanish as uv
from unvanish.core.table import Table
from unvanish.measure.schedule import every
from unvanish.modules.freeze import set_training_mode, stage_network
from unvanish.train import loop, step
from unvanish.train.captured import CapturedGradients
from unvanish.train.group import Run, RunGroup
from unvanish.train.images import ImageData
from unvanish.train.leaves import frozen_prefix, leaf_sequence
from unvanish.train.loop import Ended, EpochDone, train
from unvanish.train.native.fast import FastGradients, has_fast_form
from unvanish.train.step import PlainGradients

CPU = torch.device("cpu")


def random_recipe(seed: int) -> uv.Recipe:
    """Any depth, width, activation, init, norm, skips, optimizer and stages."""
    dice = random.Random(seed)
    depth = dice.randint(2, 8)
    widths = (dice.choice([8, 24, 40]),) * depth
    recipe = uv.baseline(
        hidden=widths,
        activation=dice.choice(["Sigmoid", "Tanh", "ReLU", "GELU", "LeakyReLU", "Hardtanh", "RReLU"]),
        init_std=dice.choice([None, 0.05, 0.5]),
        optimizer=dice.choice([uv.Optimizer("SGD", 0.05, {"momentum": 0.9}), uv.Optimizer("Adam", 0.003)]),
        batch=dice.choice([64, 100]),
        seed=seed,
    )
    if dice.random() < 0.5:
        recipe = recipe.with_remedies(uv.NormalizeInside(learned=dice.random() < 0.5))
    if dice.random() < 0.6:
        ends = sorted(dice.sample(range(1, depth + 1), 2))
        # Under Adam a second skip would compare noise: a bias before a batch norm has no gradient but rounding,
        # and Adam makes full steps of it.
        second = (1, depth) != tuple(ends) and recipe.optimizer.name == "SGD"
        others = [(1, depth)] if second else []
        recipe = recipe.with_remedies(uv.SkipConnection([tuple(ends), *others]))
    if dice.random() < 0.3:
        recipe = recipe.with_remedies(uv.TrainSomeLayers((1, depth - 1)))
    return recipe


RECIPES = {name: uv.method(name) for name in uv.METHODS} | {f"random{seed}": random_recipe(seed) for seed in range(24)}


def starts_two_skips(recipe: uv.Recipe) -> bool:
    starts = [a for remedy in recipe.remedies if isinstance(remedy, uv.SkipConnection) for a, _ in remedy.pairs]
    return len(set(starts)) < len(starts)


def trained(recipe: uv.Recipe, data, *, fast: bool = True) -> tuple[dict, list, list[Table]]:
    """About 50 steps, every third of them measured."""
    samples = recipe.batch * 12 + 7  # the last batch is a short one
    few = replace(data, train=data.train.first(samples), test=data.test.first(700))
    rows, tables = [], []
    runs = [Run(recipe.uninitialised(), 4, recipe.seed)]
    for happened in train(runs, ImageData(few, recipe.batch), schedule=every(3), device=CPU, fast=fast):
        for _, item in happened:
            if isinstance(item, EpochDone):
                rows.append((item.row.train_loss, item.row.train_acc, item.row.val_loss, item.row.val_acc))
                tables += item.measured
            else:
                assert isinstance(item, Ended)
                return item.weights, rows, tables
    raise AssertionError


def assert_alike(ours: list[Table], theirs: list[Table], rtol: float, atol: float = 0.0) -> None:
    assert [table.steps for table in ours] == [table.steps for table in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for name in one.values.keys() | other.values.keys():
            near_0 = 1e-5 if name.endswith("mean") else atol  # a mean is as exact as what it is the mean of
            np.testing.assert_allclose(one.row(name), other.row(name), rtol=rtol, atol=near_0, err_msg=name)


@pytest.mark.parametrize("name", RECIPES)
def test_it_leaves_the_bits_that_the_plain_step_leaves(name, data):
    recipe = RECIPES[name]
    fast, fast_rows, fast_flow = trained(recipe, data)
    plain, plain_rows, plain_flow = trained(recipe, data, fast=False)
    if starts_two_skips(recipe):  # autograd adds the three gradients of such a layer in another order
        assert relative_difference(fast, plain) < 1e-4
        np.testing.assert_allclose(fast_rows, plain_rows, rtol=1e-4)
        return
    assert fast_rows == plain_rows
    assert all(torch.equal(fast[key], weight) for key, weight in plain.items())
    assert_alike(fast_flow, plain_flow, rtol=2e-4, atol=1e-9)


def relative_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """‖a − b‖ / ‖b‖ over all weights together."""
    difference = sum((a[key].double() - b[key].double()).square().sum() for key in b)
    return float((difference / sum(b[key].double().square().sum() for key in b)) ** 0.5)


@pytest.mark.parametrize("name", uv.METHODS)
def test_every_published_method_has_a_fast_form(name):
    leaves = leaf_sequence(uv.method(name).uninitialised().model)
    assert leaves is not None
    assert has_fast_form(leaves)


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


SHARED = nn.Linear(8, 8)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(8, 8), Around(), nn.Linear(8, 3)),
        nn.Sequential(SHARED, nn.Tanh(), SHARED, nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)),
        nn.Sequential(nn.Conv1d(1, 8, 8), nn.Flatten(), nn.Linear(8, 3)),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 3)),
    ],
    ids=["a forward of its own", "a shared layer", "in place", "a convolution", "parametrized"],
)
def test_what_has_no_fast_form_gets_the_plain_step(network):
    leaves = leaf_sequence(network)
    assert leaves is None or not has_fast_form(leaves)


def test_the_run_says_which_step_was_used(small, monkeypatch):
    steps = []
    call = FastGradients.__call__
    monkeypatch.setattr(FastGradients, "__call__", lambda self, *args, **kw: steps.append(1) or call(self, *args, **kw))
    assert uv.run(small).environment["step"] == "fast"
    assert len(steps) == 2 * 2  # epochs, of 1,024 images in batches of 512


class Recorded:
    """In place of a CUDA graph."""

    def __init__(self, device: torch.device) -> None:
        self.device = device


@pytest.mark.parametrize(
    ("device", "fast", "expected"),
    [
        ("cpu", True, FastGradients),
        ("cpu", False, PlainGradients),
        ("cuda", True, CapturedGradients),
        ("cuda", False, PlainGradients),
    ],
)
def test_the_step_of_each_device(small, monkeypatch, device, fast, expected):
    monkeypatch.setattr(loop, "CudaGraph", Recorded)
    group = RunGroup([Run(small.uninitialised(), 1, 0)], CPU)
    network, optimizer = group.build(1, group.setup.stages[0])
    steps = loop._steps(network, network, group, optimizer, group.setup.loss_fn, every(10), torch.device(device), fast)
    assert isinstance(steps.gradients, expected)


def test_a_frozen_prefix_is_run_once_a_stage(small, monkeypatch):
    lent = []
    behind = ImageData.behind
    monkeypatch.setattr(ImageData, "behind", lambda self, prefix: lent.append(prefix) or behind(self, prefix))
    uv.run(small.with_remedies(uv.TrainSomeLayers((1, 2))))
    assert [None if prefix is None else len(prefix) for prefix in lent] == [None, 2, None]


@pytest.mark.parametrize(
    ("output", "target", "right"),
    [
        (torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 1, 1]), 2),
        (torch.eye(3).expand(2, 3, 3), torch.tensor([[0, 1, 2], [0, 0, 0]]), torch.tensor([3, 1])),  # two runs
        (torch.eye(3).expand(2, 3, 3), torch.tensor([0, 1]), None),
        (torch.eye(3), torch.eye(3), None),
        (torch.eye(3), torch.tensor([True, False, True]), None),
        (torch.ones(3), torch.tensor([0, 0, 0]), None),
        ({"logits": torch.eye(3)}, torch.tensor([0, 1, 2]), None),
    ],
)
def test_correct(output, target, right):
    found = step.correct(output, target)
    assert found.isnan().all() if right is None else torch.equal(found, torch.as_tensor(right))


# Frozen prefixes


def frozen_stage(recipe: uv.Recipe, number: int) -> nn.Module:
    setup = recipe.setup()
    stage = setup.stages[number]
    network = stage_network(setup, setup.model, stage)
    set_training_mode(setup, network, stage)
    return network


def prefix_of(network: nn.Module) -> list[nn.Module]:
    leaves = leaf_sequence(network)
    assert leaves is not None
    return leaves[: frozen_prefix(leaves)]


def test_the_prefix_is_what_is_frozen():
    recipe = uv.method("6")
    sizes = [len(prefix_of(frozen_stage(recipe, number))) for number in range(7)]
    assert sizes == [0, 4, 0, 8, 0, 12, 0]  # linear layers and their activations


def test_a_prefix_ends_before_what_looks_at_the_other_images_of_its_batch():
    for norm in (uv.NormalizeInside("standardize"), uv.NormalizeInside("batch-norm")):
        first_layer = prefix_of(frozen_stage(uv.method("6").with_remedies(norm), 1))
        assert [type(module) for module in first_layer] == [nn.Linear]
    running = uv.method("6").with_remedies(uv.NormalizeInside("batch-norm", learned=True))
    assert len(prefix_of(frozen_stage(running, 1))) == 6


def test_a_prefix_ends_before_a_skip_that_leaves_it():
    across = uv.method("6").with_remedies(uv.SkipConnection([(1, 3)]))
    assert len(prefix_of(frozen_stage(across, 3))) == 10  # 4 × (linear, activation), and both ends of the wire
    open_wire = uv.baseline().with_remedies(uv.SkipConnection([(1, 4)]), uv.TrainSomeLayers((3, 4)))
    assert len(prefix_of(frozen_stage(open_wire, 1))) == 2


@pytest.mark.parametrize(
    "remedies",
    [(), (uv.NormalizeInside(learned=True),), (uv.SkipConnection([(1, 2)]),)],
    ids=["plain", "running statistics", "a skip within it"],
)
def test_results_are_as_without(remedies, data, monkeypatch):
    recipe = uv.baseline(hidden=(16,) * 4, batch=64).with_remedies(*remedies, uv.TrainSomeLayers((2, 2)))
    cached, cached_rows, cached_flow = trained(recipe, data)
    monkeypatch.setattr(loop, "frozen_prefix", lambda leaves: 0)
    whole, whole_rows, whole_flow = trained(recipe, data)
    np.testing.assert_allclose(cached_rows, whole_rows, rtol=1e-5)
    assert relative_difference(cached, whole) < 1e-5
    assert_alike(cached_flow, whole_flow, rtol=1e-3, atol=1e-7)
