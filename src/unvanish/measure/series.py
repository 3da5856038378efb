"""What users hold of a table: `x.series["backward_rms"]`."""
# S steps, L layers

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unvanish.core.errors import UnvanishError, did_you_mean
from unvanish.core.table import Array, Table
from unvanish.core.values import counted
from unvanish.measure.quantities import ALL

# Names of version 0.1, which old stores have and old code asks for.
RENAMED = {"backward_signal": "backward_rms", "weight_gradient": "weight_gradient_norm",
           "gradient_norm": "weight_gradient_norm"}  # fmt: skip
DEFINED = {quantity.name: quantity for quantity in ALL}


@dataclass(frozen=True, eq=False)
class Series:
    """One quantity: `values[s, l]` is step `steps[s]` at `layers[l]`, in float64.

    A step is a number, or (stage, epoch) for a run: epoch 0 is the network at the start of a stage, before its first
    step; epoch e ≥ 1 is the mean over the measured steps of that epoch. NaN: the layer was not there, frozen, or has
    no such quantity.
    """

    name: str
    steps: tuple[Any, ...]
    layers: tuple[str, ...]
    values: Array

    @property
    def unit(self) -> str:
        return DEFINED[self.name].unit if self.name in DEFINED else ""

    @property
    def definition(self) -> str:
        """What it is, with its equation."""
        return DEFINED[self.name].definition() if self.name in DEFINED else ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Series):
            return NotImplemented
        same = (self.name, self.steps, self.layers) == (other.name, other.steps, other.layers)
        return same and np.array_equal(self.values, other.values, equal_nan=True)

    def __hash__(self) -> int:
        return hash((self.name, self.steps, self.layers))

    def __repr__(self) -> str:
        return f"Series({self.name}: {counted(len(self.steps), 'step')} × {len(self.layers)} layers)"

    def rows(self) -> dict[str, list[Any]]:
        """Long form, one row per layer and step, ready for any table library."""
        epochs = bool(self.steps) and isinstance(self.steps[0], tuple)
        index = {"stage": 0, "epoch": 1} if epochs else {"step": None}
        columns = {
            name: [step if place is None else step[place] for step in self.steps for _ in self.layers]
            for name, place in index.items()
        }
        return columns | {"layer": list(self.layers) * len(self.steps), self.name: self.values.ravel().tolist()}

    def table(self) -> dict[str, list[Any]]:
        """Deprecated: `rows()`."""
        warnings.warn("Series.table() is called rows() now", DeprecationWarning, stacklevel=2)
        return self.rows()

    def to_frame(self) -> Any:
        """The same as a `pandas.DataFrame`; pandas comes with the extra `study`."""
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise UnvanishError("to_frame() needs pandas: pip install pandas; rows() gives plain lists") from error
        return pd.DataFrame(self.rows())

    def plot(self) -> Any:
        """A chart of Altair's: layers along x, a line per step, coloured from the first to the last."""
        from unvanish.render.charts import chart_of_series  # Altair takes a second to import

        log = self.name in DEFINED and DEFINED[self.name].scale == "log"
        return chart_of_series(self.name, self.unit, self.layers, self.steps, self.values, log=log)


class SeriesMapping(Mapping[str, Series]):
    """Every quantity of a table by its name."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __getitem__(self, name: str) -> Series:
        if name in RENAMED:
            warnings.warn(f"series '{name}' is called '{RENAMED[name]}' now", DeprecationWarning, stacklevel=2)
            name = RENAMED[name]
        if name not in self._table.values:
            if name in DEFINED:
                raise UnvanishError(f"{name} was not measured here; there are {', '.join(self._table.values)}")
            raise UnvanishError(
                f"no quantity is called '{name}'{did_you_mean(name, DEFINED) or '; there are ' + ', '.join(DEFINED)}"
            )
        return Series(name, self._table.steps, self._table.layers, self._table.values[name])

    def __call__(self, name: str) -> tuple[list[Any], dict[str, list[float]]]:
        """Deprecated: `series[name]`."""
        warnings.warn("series(name) is series[name] now, a Series", DeprecationWarning, stacklevel=2)
        one = self[name]
        return list(one.steps), dict(zip(one.layers, one.values.T.tolist(), strict=True))

    def __iter__(self) -> Iterator[str]:
        return iter(self._table.values)

    def __len__(self) -> int:
        return len(self._table.values)

    def __contains__(self, name: object) -> bool:
        return name in self._table.values

    def __repr__(self) -> str:
        table = self._table
        return f"series of {counted(len(table.steps), 'step')} × {len(table.layers)} layers: {', '.join(table.values)}"
