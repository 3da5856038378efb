"""The curves, or the gradient flow of every layer, as CSV."""

import csv
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from unvanish.core.errors import StoreError
from unvanish.core.record import CURVE_COLUMNS, Record
from unvanish.recipes import label


def write_csv(records: Iterable[Record], to: Path, *, layers: bool = False) -> None:
    """One row an epoch, or with `layers` one row an epoch and layer. `-` is standard output; NaN is empty."""
    with _opened(to) as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, record in enumerate(records):
            columns, rows = _flow_rows(record) if layers else _curve_rows(record)
            if number == 0:
                writer.writerow(["method", "seed", *columns])
            name, seed = label(record.recipe), record.recipe.seed
            writer.writerows([name, seed, *map(_cell, row)] for row in rows)


def _curve_rows(record: Record) -> tuple[tuple[str, ...], Iterator[tuple]]:
    return CURVE_COLUMNS, (tuple(getattr(row, column) for column in CURVE_COLUMNS) for row in record.epochs)


def _flow_rows(record: Record) -> tuple[tuple[str, ...], Iterator[tuple]]:
    """Epoch 0 is the start of a stage, before its first step."""
    series = list(record.series.values())
    columns = ("stage", "epoch", "layer", *(one.name for one in series))
    rows = (
        (*step, layer, *(one.values[s, index] for one in series))
        for s, step in enumerate(series[0].steps)
        for index, layer in enumerate(series[0].layers)
    )
    return columns, rows


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


@contextmanager
def _opened(to: Path) -> Iterator[TextIO]:
    if str(to) == "-":
        yield sys.stdout
        return
    try:
        with to.open("w", newline="") as file:
            yield file
    except OSError as error:
        raise StoreError(f"{to} cannot be written ({error.strerror})") from error
