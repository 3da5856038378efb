"""The curves, or the gradient flow of every layer, as CSV."""

import csv
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from unvanish.core.curve import CURVE_COLUMNS
from unvanish.core.output import not_a_formula, opened_output
from unvanish.measure.quantities import ALL
from unvanish.store.record import Record
from unvanish.study.methods import label
from unvanish.study.report.results import recipe_of


def write_csv(records: Iterable[Record], to: Path, *, layers: bool = False) -> None:
    """One row per epoch, or with `layers` one row per epoch and layer. `-` is standard output; NaN is empty.

    `run` is the start of its digest, `epochs` the length of its recipe: they tell runs of one method and seed apart.
    """
    with opened_csv(to) as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, record in enumerate(records):
            columns, rows = _flow_rows(record) if layers else _curve_rows(record)
            if number == 0:
                writer.writerow(["run", "method", "seed", "epochs", *columns])
            recipe = recipe_of(record)
            own = (recipe.digest()[:12], label(recipe), recipe.seed, recipe.epochs)
            writer.writerows(map(as_cell, (*own, *row)) for row in rows)


def _curve_rows(record: Record) -> tuple[tuple[str, ...], Iterator[tuple]]:
    return CURVE_COLUMNS, (tuple(getattr(row, column) for column in CURVE_COLUMNS) for row in record.epochs)


def _flow_rows(record: Record) -> tuple[tuple[str, ...], Iterator[tuple]]:
    """Epoch 0 is the start of a stage, before its first step."""
    table = record.table
    columns = ("stage", "epoch", "layer", *(quantity.name for quantity in ALL))
    values = [table.values.get(quantity.name) for quantity in ALL]
    rows = (
        (*step, layer, *(math.nan if one is None else one[s, index] for one in values))
        for s, step in enumerate(table.steps)
        for index, layer in enumerate(table.layers)
    )
    return columns, rows


def as_cell(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return ""
    return not_a_formula(value) if isinstance(value, str) else value


@contextmanager
def opened_csv(to: Path) -> Iterator[TextIO]:
    if str(to) == "-":
        yield sys.stdout
        return
    with opened_output(to) as file:
        yield file
