"""A record: one run in full, as a store keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unvanish.core.curve import CURVE_COLUMNS, Epoch, Outcome
from unvanish.core.recipe import Recipe
from unvanish.core.table import Table
from unvanish.core.values import counted
from unvanish.measure.series import Series, SeriesMapping


@dataclass(frozen=True, eq=False)
class Record:
    """One run.

    recipe       what was trained; `None` for a setup of one's own
    name         the recipe's digest, or the name that the run was given
    environment  machine and versions
    epochs       the curve, row by row; `curve` has it by column
    table        what was measured; `series[quantity]` gives a part of it
    weights      of an ended run, by name; `None` where they were not kept
    """

    recipe: Recipe | None
    name: str
    environment: dict[str, Any]
    epochs: tuple[Epoch, ...]
    table: Table
    outcome: Outcome
    weights: dict[str, Tensor] | None = None

    @property
    def series(self) -> Mapping[str, Series]:
        """What was measured, by quantity."""
        return SeriesMapping(self.table)

    @property
    def curve(self) -> dict[str, list[Any]]:
        """The epochs by column, ready for `pandas.DataFrame`."""
        return {column: [getattr(row, column) for row in self.epochs] for column in CURVE_COLUMNS}

    def plot(self, quantity: str = "backward_rms") -> Any:
        """A chart of one quantity: layers along x, a line a measured step. The same as `series[quantity].plot()`."""
        return self.series[quantity].plot()

    def __repr__(self) -> str:
        what = str(self.recipe) if self.recipe is not None else self.name
        acc = "" if self.outcome.last_val_acc is None else f", val acc {self.outcome.last_val_acc:.4f}"
        return f"Record({what}: {self.outcome.state} after {counted(self.outcome.epochs, 'epoch')}{acc})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the curve and the backward signal over depth."""
        from unvanish.render.html import record_fragment

        return record_fragment(repr(self), self.curve, self.table)
