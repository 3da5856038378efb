"""The step of each device, what steps count, and frozen prefixes, which are run once a stage."""

import numpy as np
import pytest
import torch
from torch import nn

import unvanish as uv
from compare import assert_alike, few, relative_difference, trained
from unvanish.measure.schedule import every
from unvanish.modules.freeze import set_training_mode, stage_network
from unvanish.train import loop
from unvanish.train.captured import CapturedGradients
from unvanish.train.group import Run, RunGroup
from unvanish.train.images import ImageData
from unvanish.train.leaves import frozen_prefix, leaf_sequence
from unvanish.train.native.library import missing
from unvanish.train.native.steps import NativeSteps
from unvanish.train.step import PlainGradients
from unvanish.train.taken import correct

CPU = torch.device("cpu")


class Recorded:
    """In place of a CUDA graph."""

    def __init__(self, device: torch.device) -> None:
        self.device = device


@pytest.mark.parametrize(
    ("device", "fast", "expected"),
    [
        ("cpu", True, NativeSteps),
        ("cpu", False, PlainGradients),
        ("cuda", True, CapturedGradients),
        ("cuda", False, PlainGradients),
    ],
)
def test_the_step_of_each_device(small, data, monkeypatch, device, fast, expected):
    if expected is NativeSteps and missing():
        pytest.skip(f"there is no native step: {missing()}")
    monkeypatch.setattr(loop, "CudaGraph", Recorded)
    group = RunGroup([Run(small.uninitialised(), 1, 0)], CPU)
    network, optimizer = group.build(1, group.setup.stages[0])
    images = ImageData(few(data, 1000), 512) if fast else None
    options = group.setup.loss_fn, every(10), torch.device(device), images
    steps = loop._steps(network, network, group, optimizer, *options)
    assert isinstance(getattr(steps, "gradients", steps), expected)


def test_a_frozen_prefix_is_run_once_a_stage(small, monkeypatch):
    lent = []
    behind = ImageData.behind
    monkeypatch.setattr(ImageData, "behind", lambda self, prefix: lent.append(prefix) or behind(self, prefix))
    uv.run(small.with_remedies(uv.TrainSomeLayers((1, 2))))
    assert [None if prefix is None else len(prefix) for prefix in lent] == [None, 2, None]


@pytest.mark.parametrize(
    ("output", "target", "lead", "right"),
    [
        (torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 1, 1]), 0, 2),
        (torch.eye(3).expand(2, 3, 3), torch.tensor([[0, 1, 2], [0, 0, 0]]), 1, torch.tensor([3, 1])),  # two runs
        (torch.eye(3).expand(2, 3, 3), torch.tensor([[0, 1, 2], [0, 0, 0]]), 0, None),  # two samples of three tokens
        (torch.eye(3).expand(2, 3, 3), torch.tensor([0, 1]), 0, None),
        (torch.eye(3), torch.eye(3), 0, None),
        (torch.eye(3), torch.tensor([True, False, True]), 0, None),
        (torch.ones(3), torch.tensor([0, 0, 0]), 0, None),
        ({"logits": torch.eye(3)}, torch.tensor([0, 1, 2]), 0, None),
    ],
)
def test_correct(output, target, lead, right):
    found = correct(output, target, lead)
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
