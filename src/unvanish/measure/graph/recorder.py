"""The recorder on the autograd graph: for any module, in anyone's loop.

Around each step: the forward pass, `after_forward(outputs)`, the backward pass, `before_update()`, the
optimizer's step, `after_step()`. It only reads, so the training is the same bit for bit. What cannot
be measured is NaN.
"""
# S steps, L layers, R runs (none in front where a run is alone)

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unvanish.core.blocks import NORMS
from unvanish.core.table import Table
from unvanish.measure.graph.layers import Layer, names_of
from unvanish.measure.graph.passes import How, Pass, observe, of_gradients, of_updates, over_calls, signals
from unvanish.measure.guard import Guard
from unvanish.measure.moments import Number
from unvanish.measure.quantities import ALL
from unvanish.measure.quantity import Signals, in_table
from unvanish.measure.schedule import Schedule

THIN = 32  # of steps measured in a row, every so many is thorough: it looks forward, at gradients and at updates too
PASSES = 4  # of a step are measured, where gradients are accumulated over several


@dataclass(frozen=True, eq=False)
class Row:
    """The numbers of a step, those of a device still there: by layer and quantity."""

    step: Any
    layers: tuple[str, ...]
    units: dict[str, int]
    numbers: dict[tuple[str, str], Number]
    calls: dict[str, list[Number]]


class GraphRecorder:
    """Records a model's steps into rows.

    steps   how many optimizer steps were seen
    thin    of measured steps in a row, look forward at every so many only; 1 is all
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        *,
        names: Mapping[int, str] | None = None,
        guard: Guard | None = None,
        elements: int | None = None,
        lead: int = 0,
        thin: int = THIN,
    ) -> None:
        self.names = names_of(model) if names is None else names
        self.how = How(self.names, guard or Guard(), elements, lead=lead)
        self.schedule, self.thin, self.steps = schedule, thin, 0
        self.rows: list[Row] = []
        self.missing: tuple[str, ...] = ()  # layers without a gradient
        self.unseen: tuple[str, ...] = ()  # with a gradient, but in no graph that was seen
        self._parameters = list(model.parameters())
        norms = (module for module in model.modules() if isinstance(module, NORMS))
        self._normalising = {self.names.get(id(p)) for module in norms for p in module.parameters()}
        self._latest = -1
        self.passes: list[Pass] = []
        self.forget()

    @property
    def guard(self) -> Guard:
        return self.how.guard

    def wants(self, step: int | None = None) -> bool:
        if self.guard.stopped:
            return False
        return bool(self.guard.run(("the schedule",), self.schedule, self.steps if step is None else step))

    def after_forward(self, outputs: Sequence[Tensor], inputs: Mapping[Any, Tensor] | None = None) -> None:
        """`outputs` are the model's, or the loss: anything that the backward pass will start from."""
        self._drop_what_came_to_nothing()
        how = replace(self.how, inputs=inputs or {})
        seen = self.guard.run(("forward pass",), observe, outputs, how, forward=self._is_thorough())
        if seen is not None:
            self.passes.append(seen)

    def before_update(self) -> None:
        """Look at the gradients, which some optimizers change in place, and keep the weights, so that both can be told.

        Where nobody knows when an update is made, `after_step` makes up for the first.
        """
        if self._row is None and any(one.came_back for one in self.passes):
            self._row = self.guard.run(("gradients",), self.row)
        self.keep_weights()

    def keep_weights(self) -> None:
        if self._is_thorough() and not self._before:
            self._before = {layer.weight: layer.weight.detach().clone() for layer in self.layers()}

    def after_step(self) -> None:
        if self._row is not None or any(one.came_back for one in self.passes):
            row = self.guard.run(("optimizer step",), self._whole_row)
            if row is not None:
                self.rows.append(in_one_piece(row))
            self._latest = self.steps
        self.forget()
        self.steps += 1

    @torch.no_grad()
    def row(self) -> Row:
        """What was seen of the passes since the last step, before the update."""
        layers = self.layers() if self._is_thorough() else []
        if layers:
            weights = [p for p in self._parameters if p.requires_grad and p.dim() > 1 and id(p) in self.names]
            found = {self.names[id(p)] for p in weights if p.grad is not None}
            known = {layer.name for layer in layers} | self._normalising
            self.missing = tuple(dict.fromkeys(n for p in weights if (n := self.names[id(p)]) not in found))
            self.unseen = tuple(dict.fromkeys(n for p in weights if (n := self.names[id(p)]) in found - known))
        return row_of(self.steps, self.passes, of_gradients(layers, self.how.lead))

    def resume(self, row: Row, layers: Sequence[Layer]) -> None:
        """Take this as the present step's: a replayed step fills the memory of the one that was recorded."""
        self._row, self._replayed = replace(row, step=self.steps), layers

    def forget(self) -> None:
        for one in self.passes:
            for layer in one.layers:
                layer.calls.clear()  # their nodes have hooks that lead back to them
        self.passes = []
        self._before: dict[nn.Parameter, Tensor] = {}
        self._row: Row | None = None
        self._replayed: Sequence[Layer] = ()

    def take(self) -> Table:
        """What was measured since the last `take`; this is what waits for the device."""
        rows, self.rows = self.rows, []
        return table_of(rows)[0]

    @torch.no_grad()
    def _whole_row(self) -> Row:
        row = self.row() if self._row is None else self._row
        moved = of_updates(self.layers(), self._before, self.how.lead) if self._before else {}
        updates = {name: Signals(update=update, weight=weight) for name, (update, weight) in moved.items()}
        return replace(row, numbers={**row.numbers, **numbers_of(updates)})

    def _is_thorough(self) -> bool:
        """At the first steps, at steps that stand alone, and else at every `thin`-th."""
        alone = self._latest < self.steps - 1
        return self.steps < self.thin or alone or self.steps % self.thin == 0

    def _drop_what_came_to_nothing(self) -> None:
        """Passes without a backward pass; and all, if their gradients are gone without a step: a scaler skipped it."""
        self.passes = [one for one in self.passes if one.came_back][-PASSES + 1 :]
        if self.passes and all(layer.weight.grad is None for layer in self.layers()):
            self.passes = []

    def layers(self) -> Sequence[Layer]:
        """Those that take part in the present step."""
        return self._replayed or list({layer.name: layer for one in self.passes for layer in one.layers}.values())


def row_of(step: Any, passes: Sequence[Pass], gradients: Any = None) -> Row:
    """Every quantity of every layer at a step, before the update."""
    seen = signals(passes, gradients)
    units = {name: count for one in passes for name, count in one.units.items()}
    return Row(step, tuple(seen), units, numbers_of(seen), over_calls(passes))


@torch.no_grad()
def in_one_piece(row: Row) -> Row:
    """A copy whose tensors share one.

    A hundred small ones, kept from between the large tensors of a pass, would hold memory of a hundred times their
    size; and where a step is replayed, they lie in memory that the next one overwrites.
    """
    tensors = [value for value in _all_numbers(row) if isinstance(value, Tensor)]
    if not tensors:
        return row
    pieces = iter(torch.stack(torch.broadcast_tensors(*tensors)).unbind())  # of the widest type among them

    def moved(value: Number) -> Number:
        return next(pieces) if isinstance(value, Tensor) else value

    numbers = {key: moved(value) for key, value in row.numbers.items()}
    return replace(row, numbers=numbers, calls={name: [*map(moved, norms)] for name, norms in row.calls.items()})


def _all_numbers(row: Row) -> list[Number]:
    return [*row.numbers.values(), *(norm for norms in row.calls.values() for norm in norms)]


def numbers_of(seen: Mapping[str, Signals]) -> dict[tuple[str, str], Number]:
    found = (((name, quantity.name), quantity.of(layer)) for name, layer in seen.items() for quantity in ALL)
    return {key: value for key, value in found if value is not None}


def table_of(rows: Sequence[Row], runs: int = 1, layers: Iterable[str] = ()) -> list[Table]:
    """A table for each run, all numbers in one transfer from the device.

    layers   names that come first whether they were measured or not
    """
    found = _fetched([value for row in rows for value in _all_numbers(row)], runs)
    fetched = iter(found)
    names = tuple(
        dict.fromkeys([*layers, *(name for row in sorted(rows, key=_size, reverse=True) for name in row.layers)])
    )
    at = {name: index for index, name in enumerate(names)}
    values = {q.name: np.full((runs, len(rows), len(names)), np.nan) for q in ALL}
    calls: dict[str, np.ndarray] = {}
    for index, row in enumerate(rows):
        for (layer, quantity), value_R in zip(row.numbers, fetched, strict=False):
            values[quantity][:, index, at[layer]] = in_table(quantity, value_R)
        for name, norms in row.calls.items():
            calls[name] = in_table(name, np.array([value_R[0] for value_R in islice(fetched, len(norms))]))
    units = {name: count for row in rows for name, count in row.units.items()}
    measured = {q: v for q, v in values.items() if not np.isnan(v).all()} if rows else {}
    steps = tuple(row.step for row in rows)
    return [Table(names, steps, {q: v[run] for q, v in measured.items()}, units, calls) for run in range(runs)]


def _fetched(numbers: Sequence[Number], runs: int) -> np.ndarray:
    """Each of the numbers for each run, [N, R]."""
    found = np.array([np.nan if isinstance(value, Tensor) else value for value in numbers], float)
    found = np.repeat(found[:, np.newaxis], runs, 1)
    tensors = {i: value.double().expand(runs) for i, value in enumerate(numbers) if isinstance(value, Tensor)}
    if tensors:
        found[list(tensors)] = torch.stack(list(tensors.values())).cpu().numpy()
    return found


def _size(row: Row) -> int:
    return len(row.layers)
