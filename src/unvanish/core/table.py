"""The one table: what was measured, by quantity, step and layer."""
# S steps, L layers, T uses of one weight in one pass

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """One number for each quantity, step and layer.

    NaN where nothing was measured or the quantity has no meaning there; infinite where what was measured was not
    finite.

    layers        in forward order
    steps         what names a step: an int, or (stage, epoch)
    values        quantity → [S, L]
    units         how many units each layer has, where that is known
    over_calls    for a layer that is used many times in one pass: its backward norm at each use, [T], of the last step
    """

    layers: tuple[str, ...] = ()
    steps: tuple[Any, ...] = ()
    values: Mapping[str, Array] = field(default_factory=dict)
    units: Mapping[str, int] = field(default_factory=dict)
    over_calls: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.layers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        same = (self.layers, self.steps, dict(self.units)) == (other.layers, other.steps, dict(other.units))
        return same and _same(self.values, other.values) and _same(self.over_calls, other.over_calls)

    def __hash__(self) -> int:
        return hash((self.layers, self.steps))

    def __repr__(self) -> str:
        return f"Table({len(self.layers)} layers, {len(self.steps)} steps: {', '.join(self.values)})"

    def row(self, quantity: str, step: int = -1) -> Array:
        """A quantity at the `step`-th of the measured steps, [L]; NaN throughout where it was not measured."""
        values = self.values.get(quantity)
        return np.full(len(self.layers), np.nan) if values is None or not len(values) else values[step]

    def factors(self, quantity: str, *, backward: bool = False) -> Array:
        """By what a quantity of the last step grows from one layer to the next, [L]; `backward`: on its way down.

        Each value over the one before it that was measured; the first on the way has none.
        """
        values_L = self.row(quantity)[:: -1 if backward else 1]
        factors_L, before = np.full(len(values_L), np.nan), np.nan
        for index, value in enumerate(values_L):
            if np.isfinite(value):
                with np.errstate(over="ignore"):  # a factor beyond the largest number is infinite
                    factors_L[index] = value / before if before > 0 else np.nan
                before = value
        return factors_L[:: -1 if backward else 1]

    def at(self, step: int) -> "Table":
        """The table of one step alone."""
        where = slice(step, None) if step == -1 else slice(step, step + 1)
        return replace(self, steps=self.steps[where], values={name: v[where] for name, v in self.values.items()})

    def with_values(self, values: Mapping[str, Any]) -> "Table":
        """With these quantities, too, each [S, L]."""
        return replace(self, values={**self.values, **{name: np.asarray(v, np.float64) for name, v in values.items()}})

    def mean(self, step: Any) -> "Table":
        """One step: the mean over all, in which NaN counts nowhere.

        Norms and ratios are averaged as they are, fractions too.
        """
        return replace(self, steps=(step,), values={name: _nanmean(v)[None] for name, v in self.values.items()})


def joined(tables: Sequence[Table]) -> Table:
    """The steps of several tables of one network; layers that some lack have NaN there."""
    names = tuple(dict.fromkeys(layer for table in tables for layer in max(tables, key=len).layers + table.layers))
    quantities = dict.fromkeys(name for table in tables for name in table.values)
    columns: dict[str, Array] = {}
    places = [[names.index(layer) for layer in table.layers] for table in tables]
    for quantity in quantities:
        parts = []
        for table, place in zip(tables, places, strict=True):
            part = np.full((len(table.steps), len(names)), np.nan)
            if quantity in table.values:
                part[:, place] = table.values[quantity]
            parts.append(part)
        columns[quantity] = np.concatenate(parts)
    steps = tuple(step for table in tables for step in table.steps)
    units = {name: count for table in tables for name, count in table.units.items()}
    over_calls = {name: values for table in tables for name, values in table.over_calls.items()}
    return Table(names, steps, columns, units, over_calls)


def _nanmean(values_SL: Array) -> Array:
    counted = ~np.isnan(values_SL)
    with np.errstate(over="ignore"):  # a mean beyond the largest number is infinite
        total = np.where(counted, values_SL, 0).sum(0)
    return np.where(counted.any(0), total / np.maximum(counted.sum(0), 1), np.nan)


def _same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k], equal_nan=True) for k in one)
