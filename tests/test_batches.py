"""Batches of every shape: their size, where they go, how many are taken; and the steps that ask twice for a loss."""

from collections import OrderedDict, UserDict, namedtuple
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import unvanish as uv
from unvanish.core.nested import mapped
from unvanish.measure.schedule import every
from unvanish.train.batches import Batch, batch_of, shuffled, take
from unvanish.train.step import plain_steps

CPU = torch.device("cpu")
Pair = namedtuple("Pair", ["a", "b"])
ONES = torch.ones(7, 2)


def of(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(size, 3), torch.zeros(size)


@pytest.mark.parametrize(
    ("given", "target", "size"),
    [
        (torch.zeros(5, 3), torch.zeros(5), 5),
        (torch.zeros(5, 3), torch.zeros(4, 2), 4),
        (torch.zeros(5, 3), torch.zeros(()), 5),
        (torch.zeros(5, 3), None, 5),
        ({"ids": torch.zeros(6, 2), "mask": torch.zeros(6)}, {"labels": torch.zeros(6)}, 6),
        ((torch.zeros(()), torch.zeros(3, 1)), None, 3),
        (torch.zeros(()), torch.zeros(()), 1),
        ("text", None, 1),
    ],
)
def test_size(given, target, size) -> None:
    assert Batch(given, target).size == size


@pytest.mark.parametrize(
    ("sizes", "train", "held", "taken"),
    [
        ([10] * 9, 3, 20, 5),  # three to train on, and 20 samples in two more
        ([10] * 9, 3, 21, 6),
        ([10] * 9, 3, 0, 1),
        ([10, 10, 10, 100, 10], 3, 20, 4),
        ([100] * 9, 3, 20, 4),  # what is trained on is not counted
        ([10] * 2, 3, 20, 2),
    ],
)
def test_take(sizes, train, held, taken) -> None:
    left = iter([of(size) for size in sizes])
    assert len(take(left, train, held, CPU)) == taken
    assert len(list(left)) == len(sizes) - taken


def test_of_no_batches_and_of_what_is_no_pair() -> None:
    with pytest.raises(uv.UnvanishError, match="there are no batches"):
        take([], 3, 20, CPU)
    for item, described in (
        ((), "a tuple of 0"),
        ("text", "a str"),
    ):
        with pytest.raises(uv.UnvanishError, match=f"pair \\(input, target\\); got {described}"):
            batch_of(item, CPU)


def test_inputs_without_a_target_and_several_inputs() -> None:
    one, two = torch.ones(7, 2), torch.zeros(7, 2)
    assert batch_of(one, CPU).target is None
    assert batch_of((one,), CPU).input is one
    several = batch_of((one, two, ONES), CPU)
    assert several.target is ONES
    assert torch.equal(several.input[1], two)


@pytest.mark.parametrize(
    "value",
    [
        ONES,
        (ONES, [ONES, "text", 3]),
        {"a": ONES, "b": {"c": (ONES, None)}},
        Pair(ONES, [ONES]),
        OrderedDict(a=ONES),
        UserDict({"a": ONES}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_tensor_is_changed_and_the_nesting_stays(value) -> None:
    seen = []
    changed = mapped(lambda tensor: seen.append(tensor) or tensor * 2, value)
    assert type(changed) is type(value)
    assert all(tensor is ONES for tensor in seen)
    back = mapped(lambda tensor: tensor / 2, changed)
    assert repr(back) == repr(value)
    assert repr(changed) == repr(value).replace("1.", "2.")


def test_a_mapping_that_cannot_be_made_anew_becomes_a_dict() -> None:
    class Fixed(UserDict):
        def __init__(self) -> None:
            super().__init__({"a": ONES})

    assert mapped(lambda tensor: tensor * 2, Fixed()).keys() == {"a"}
    assert isinstance(mapped(lambda tensor: tensor * 2, MappingProxyType({"a": ONES})), MappingProxyType)


def test_targets_in_another_order() -> None:
    order = torch.tensor([2, 0, 1])
    whole = {"y": torch.tensor([5, 6, 7]), "weights": torch.tensor([1.0, 2.0]), "scale": torch.tensor(3.0)}
    moved = shuffled(whole, order)
    assert moved["y"].tolist() == [7, 5, 6]
    assert moved["weights"].tolist() == [1.0, 2.0]
    assert moved["scale"] == 3


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, 3)
        self.linear = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.hidden(x.mul_(2)))


def test_a_model_that_works_in_place_spoils_nobody_s_batch() -> None:
    x = torch.ones(4, 2)
    batch = Batch(x, torch.zeros(4, 1))
    batch.output_of(InPlace())
    assert torch.equal(x, torch.ones(4, 2))
    setup = uv.Setup.of(InPlace(), x, optimizer=uv.Optimizer("SGD", 0.01), loss_fn=functional.mse_loss)
    uv.run(setup, [(x, torch.zeros(4, 1))], epochs=3)
    assert torch.equal(x, torch.ones(4, 2))


@pytest.mark.parametrize("asks", ["SGD", "LBFGS"])
def test_a_measured_step_is_of_its_first_pass_and_of_the_whole_update(asks) -> None:
    """L-BFGS asks for the loss up to 20 times a step."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x, y = torch.randn(16, 3), torch.randn(16, 1)
    functional.mse_loss(network(x), y).backward()
    before = [one.detach().clone() for one in network.parameters()]
    gradient = network[0].weight.grad.norm().item()
    loss = functional.mse_loss(network(x), y).item()
    optimizer = getattr(torch.optim, asks)(network.parameters(), 0.1)
    steps = plain_steps(network, network, functional.mse_loss, optimizer, every(2))
    taken = steps.run([Batch(x, y)] * 3)
    (table,) = steps.take()
    assert table.steps == (0, 2)
    assert taken.steps == 3
    assert taken.samples == 48
    assert table.row("weight_gradient_norm", 0)[0] == pytest.approx(gradient, rel=1e-5)

    torch.manual_seed(0)
    fresh = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = getattr(torch.optim, asks)(fresh.parameters(), 0.1)
    steps = plain_steps(fresh, fresh, functional.mse_loss, optimizer, every(1))
    one = steps.run([Batch(x, y)])
    assert one.losses.item() == pytest.approx(loss)
    moved = (fresh[0].weight.detach() - before[0]).norm() / before[0].norm()
    assert steps.take()[0].row("update_ratio")[0] == pytest.approx(moved.item(), rel=1e-4)
    assert np.isfinite(table.row("update_ratio")).all()
    if asks == "LBFGS":
        assert moved > 0.05


def test_a_step_that_is_not_measured_leaves_no_table() -> None:
    network = nn.Sequential(nn.Linear(3, 1))
    optimizer = torch.optim.LBFGS(network.parameters(), 0.1)
    steps = plain_steps(network, network, functional.mse_loss, optimizer, every(5))
    steps.run([Batch(torch.randn(4, 3), torch.randn(4, 1))] * 3, begin=1)
    (table,) = steps.take()
    assert table.steps == ()
