"""Batches of whatever shape people's loops have: (input, target) with tensors, tuples or dicts inside."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from unvanish.core.errors import UnvanishError
from unvanish.core.nested import call, mapped
from unvanish.measure.graph.layers import tensors_in

T = TypeVar("T")
EMPTY = 100  # batches without a sample, one after the other: no more will come
LABELS = ("labels", "label", "targets", "target", "y")  # names of a target among the inputs of a model with a loss


@dataclass(frozen=True)
class Batch:
    input: Any
    target: Any

    def output_of(self, model: nn.Module) -> Any:
        """From a copy of the input: a model may work on it in place."""
        return call(model, mapped(torch.clone, self.input))

    def reordered(self, order: Tensor) -> "Batch":
        """The same inputs with the targets of other samples; a dict alone holds them under one of `LABELS`."""
        if self.target is None and isinstance(self.input, Mapping):
            moved = {name: shuffled(self.input[name], order) for name in LABELS if name in self.input}
            return replace(self, input={**self.input, **moved})
        return replace(self, target=shuffled(self.target, order))

    @property
    def has_target(self) -> bool:
        return self.target is not None or (
            isinstance(self.input, Mapping) and any(name in self.input for name in LABELS)
        )

    @property
    def size(self) -> int:
        """How many samples: the first dimension of the target, or else of the input."""
        for tensor in (*tensors_in(self.target), *tensors_in(self.input)):
            if tensor.dim():
                return len(tensor)
        return 1


def batch_of(item: Any, device: torch.device | None) -> Batch:
    """A user's batch on the device: a pair; a dict, a tensor or a tuple of one, which are inputs without a target; of a
    longer tuple the last is the target. Raises `UnvanishError` where it is none of these."""
    if isinstance(item, Mapping | Tensor):
        item = (item, None)
    elif isinstance(item, tuple | list) and len(item) == 1:
        item = (item[0], None)
    elif isinstance(item, tuple | list) and len(item) > 2:
        item = (tuple(item[:-1]), item[-1])
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise UnvanishError(
            f"each batch must be a pair (input, target); got {_described(item)}. "
            "Inputs may be tensors, tuples or dicts: yield (inputs, target) from a small generator. A dict or a tensor "
            "alone is an input without a target"
        )
    return Batch(*(mapped(lambda tensor: tensor.to(device), part) for part in item))


def with_samples(batches: Iterable[Any], device: torch.device | None) -> Iterator[Batch]:
    """Those that hold any sample. Raises `UnvanishError` where one after the other is empty."""
    empty = 0
    for item in batches:
        batch = batch_of(item, device)
        empty = 0 if batch.size else empty + 1
        if empty == EMPTY:
            raise UnvanishError(f"{EMPTY} batches in a row hold no samples")
        if batch.size:
            yield batch


def take(batches: Iterable[Any], train: int, held: int, device: torch.device | None) -> list[Batch]:
    """The first batches, on `device`: so many to train on, and then as many as have `held` samples, one at least.

    Of an iterator no more is read than that. A last batch of one sample is left out.
    """
    found: list[Batch] = []
    samples = 0
    for batch in with_samples(batches, device):
        found.append(batch)
        samples += found[-1].size if len(found) > train else 0
        if samples >= held:
            break
    if not found:
        raise UnvanishError("there are no batches: `batches` was empty, or an iterator that is used up")
    if len(found) > 1 and found[-1].size == 1 < found[0].size:  # batch normalisation refuses it
        found.pop()
    return found


class Data(Protocol):
    """What a training learns from. `draw` lends a run's random stream, one after the other, and joins what it gave."""

    def epoch(self, draw: "Draw") -> Iterable[Batch]:
        """The batches of the next epoch; its order is drawn at once."""
        ...

    def held_out(self) -> Iterable[Batch]:
        """The batches that are evaluated after each epoch; none if there are none."""
        ...

    def end_epoch(self, draw: "Draw") -> None:
        """Draw what an evaluation draws."""
        ...

    def behind(self, prefix: nn.Module | None) -> "Data":
        """The same as a stage needs it, passed through its frozen prefix, if it has one."""
        ...

    @property
    def ended(self) -> bool:
        """Whether as many steps were taken as were asked for."""
        ...


Draw = Callable[[Callable[[], Tensor]], Tensor]


@dataclass
class GivenData:
    """Anyone's batches: an iterable of (input, target), gone through once an epoch, up to so many steps in all."""

    batches: Iterable[Any]
    held: Sequence[Any] | Iterable[Any] = ()
    device: torch.device | None = None
    steps: int | None = None
    taken: int = field(default=0, init=False)
    prefix: nn.Module | None = field(default=None, init=False)

    def epoch(self, draw: Draw) -> Iterator[Batch]:
        before = self.taken
        for item in self.batches:
            if self.ended:
                return
            self.taken += 1
            yield self._passed(batch_of(item, self.device))
        if self.taken == before and not self.ended:
            raise UnvanishError(
                "there are no batches for another epoch: `batches` was empty, or an iterator that is used up; "
                "give a list or a DataLoader, which can be gone through again"
            )

    def held_out(self) -> Iterator[Batch]:
        return (self._passed(batch_of(item, self.device)) for item in self.held)

    def end_epoch(self, draw: Draw) -> None:
        pass

    def behind(self, prefix: nn.Module | None) -> "GivenData":
        data = copy.copy(self)
        data.prefix, data.taken = prefix, 0
        return data

    @torch.no_grad()
    def _passed(self, batch: Batch) -> Batch:
        """A copy of the input, for a model may work on it in place."""
        given = mapped(torch.clone, batch.input)
        return Batch(given if self.prefix is None else call(self.prefix, given), batch.target)

    @property
    def ended(self) -> bool:
        return self.steps is not None and self.taken >= self.steps


def without_graph(function: Callable[[], T]) -> T:
    """What it gives, without a graph; but a model or a loss that differentiates by its input cannot do without."""
    try:
        with torch.no_grad():
            return function()
    except RuntimeError:
        with torch.enable_grad():
            return function()


def shuffled(target: Any, order_B: Tensor) -> Any:
    """The targets with their samples in another order; a tensor of another first dimension is left."""
    size = len(order_B)
    return mapped(
        lambda tensor: tensor[order_B.to(tensor.device)] if tensor.dim() and len(tensor) == size else tensor, target
    )


def _described(item: Any) -> str:
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {len(item)}"
    return f"a {type(item).__name__}" + (f" of shape {tuple(item.shape)}" if isinstance(item, Tensor) else "")
