"""Skips: in threads, checkpointed regions and copies, around each other, and between blocks that stand apart."""

import copy
import io
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import unvanish as uv
from nets import nested
from unvanish.modules.wiring import Add


def tanh_net(depth: int = 7) -> uv.Setup:
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(8, 8), nn.Tanh())]
    return uv.Setup.of(nn.Sequential(*layers, nn.Linear(8, 3)), torch.zeros(1, 8))


def by_hand(setup: uv.Setup, pairs: list[tuple[int, int]], x: Tensor) -> Tensor:
    """The definition: h_b ← h_b + h_a, one block after the other."""
    given: list[Tensor] = []
    for number, block in enumerate(setup.blocks, start=1):
        for name in block:
            x = setup.model.get_submodule(name)(x)
        for a, b in pairs:
            if b == number:
                x = x + given[a - 1]
        given.append(x)
    return setup.model.get_submodule(setup.output)(x)


PAIRS = [
    [(1, 3), (4, 7)],
    [(1, 3), (3, 5)],
    [(1, 4), (2, 3)],
    [(1, 3), (2, 4)],
    [(1, 7), (2, 4), (4, 6)],
    [(3, 5), (1, 3)],
]


@pytest.mark.parametrize("pairs", PAIRS, ids=str)
def test_what_is_added_where(pairs: list[tuple[int, int]]) -> None:
    setup, x = tanh_net(), torch.randn(5, 8)
    skipped = uv.SkipConnection(tuple(pairs)).apply(setup)
    assert torch.equal(skipped.model(x), by_hand(setup, pairs, x))
    assert not any(isinstance(module, Add) for module in skipped.model.modules())
    assert len(skipped.blocks) == len(setup.blocks)
    for block in skipped.blocks:  # the names lead to the blocks' modules
        assert type(skipped.model.get_submodule(block[0])) is nn.Linear


class Chain(nn.Module):
    """Its blocks stand in no sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(3))
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.three(self.two(self.one(x))))


def chain() -> uv.Setup:
    torch.manual_seed(0)
    return uv.Setup.of(Chain(), torch.zeros(1, 8))


@pytest.mark.parametrize("make", [tanh_net, chain], ids=["side by side", "wired"])
def test_threads_do_not_meet(make) -> None:
    model = uv.SkipConnection(((1, 3),)).apply(make()).model
    inputs = [torch.randn(16, 8) for _ in range(4)]
    expected = [model(x) for x in inputs]

    def passes(index: int) -> int:
        return sum(not torch.equal(model(inputs[index]), expected[index]) for _ in range(100))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(passes, range(4))) == [0, 0, 0, 0]


@pytest.mark.parametrize("segments", [1, 2, 3])
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_sequences_give_the_same_gradients(segments: int, reentrant: bool) -> None:
    model = uv.SkipConnection().apply(tanh_net()).model
    x = torch.randn(6, 8, requires_grad=True)
    model(x).square().mean().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    checkpoint_sequential(model, segments, x, use_reentrant=reentrant).square().mean().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_a_wire_out_of_a_checkpointed_region_is_right_or_refused() -> None:
    model = uv.SkipConnection(((1, 3),)).apply(chain()).model
    x = torch.randn(6, 8, requires_grad=True)
    expected = torch.autograd.grad(model(x).square().mean(), model.one[0].weight)[0]
    one = model.one

    class Checkpointed(nn.Module):
        def __init__(self, reentrant: bool) -> None:
            super().__init__()
            self.reentrant = reentrant

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(one, x, use_reentrant=self.reentrant)

    model.one = Checkpointed(False)
    weight = one[0].weight
    assert torch.allclose(torch.autograd.grad(model(x).square().mean(), weight)[0], expected)
    model.one = Checkpointed(True)
    with pytest.raises(uv.UnvanishError, match="leads out of a checkpointed region"):
        model(x)


@pytest.mark.parametrize("make", [tanh_net, chain], ids=["side by side", "wired"])
def test_copies_and_saved_models_are_their_own(make) -> None:
    model = uv.SkipConnection(((1, 3),)).apply(make()).model
    x = torch.randn(4, 8)
    expected = model(x)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        next(twin.parameters()).zero_()
    assert not torch.equal(twin(x), expected)
    assert torch.equal(model(x), expected)
    if make is tanh_net:
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        assert torch.equal(torch.load(buffer, weights_only=False)(x), expected)


def test_a_skip_into_blocks_that_a_stage_does_not_have_carries_nothing() -> None:
    recipe = uv.baseline(hidden=(8,) * 4, epochs=1, samples=256, batch=64)
    recipe = recipe.with_remedies(uv.SkipConnection(((1, 3),)), uv.TrainSomeLayers((2, 2)))
    record = uv.run(recipe)
    assert record.outcome.state == "finished"
    alone = uv.run(
        uv.baseline(hidden=(8,) * 4, epochs=1, samples=256, batch=64).with_remedies(uv.TrainSomeLayers((2, 2)))
    )
    assert record.epochs[0].train_loss == alone.epochs[0].train_loss  # the first stage has only layers 1 and 2


def test_a_network_whose_blocks_run_in_another_order_than_they_are_registered_in() -> None:
    torch.manual_seed(0)
    setup = nested()
    skipped = uv.SkipConnection(((1, 3), (4, 7))).apply(setup)
    x = torch.randn(4, 20)
    assert torch.allclose(skipped.model(x), by_hand(setup, [(1, 3), (4, 7)], x))


@pytest.mark.parametrize("remedy", [uv.ReZero(), uv.SkipEveryBlock(), uv.NormalizeInside()], ids=lambda one: one.kind)
def test_a_deep_network_is_copied_no_more_often_than_a_shallow_one(remedy, monkeypatch):
    """Else building a network of a thousand layers takes a thousand copies of it."""
    from unvanish.modules import replace as replacing

    copies, copy = [], replacing.copy.deepcopy

    def counted(model):
        copies.append(model)
        return copy(model)

    monkeypatch.setattr(replacing.copy, "deepcopy", counted)
    found = []
    for depth in (4, 40):
        uv.baseline(hidden=(8,) * depth).with_remedies(remedy)
        found.append(len(copies))
        copies.clear()
    assert found[0] == found[1]
