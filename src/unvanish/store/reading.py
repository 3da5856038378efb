"""From rows to the types of `core` and back."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, select

from unvanish.core.curve import Epoch, Outcome
from unvanish.core.table import Table
from unvanish.measure.quantities import ALL
from unvanish.store.tables import FIGURES, SUMMARY, curve, series

# What quantities were called in stores of version 1.
RENAMED = {"backward_signal": "backward_rms", "weight_gradient": "weight_gradient_norm"}

Rows = Sequence[Any]  # mappings by column


def rows_of(connection: Connection, digest: str) -> tuple[Rows, Rows]:
    """Of a run: the rows of its curve, and those of what was measured, in their order."""
    of_curve = select(curve).where(curve.c.digest == digest).order_by(curve.c.stage, curve.c.epoch)
    of_series = select(series).where(series.c.digest == digest).order_by(series.c.stage, series.c.epoch)
    return connection.execute(of_curve).mappings().all(), connection.execute(of_series).mappings().all()


def epochs_of(rows: Rows) -> list[Epoch]:
    return [
        Epoch(row["stage"], row["epoch"], *(math.nan if row[name] is None else row[name] for name in FIGURES))
        for row in rows
    ]


def outcome_of(row: Row) -> Outcome:
    return Outcome(state=row.state, error=row.error, **{name: getattr(row, name) for name in SUMMARY})


def summary_of(rows: list[Epoch], state: str) -> dict[str, Any]:
    """A run's summary as columns."""
    outcome = Outcome.of(rows, state)
    return {name: getattr(outcome, name) for name in SUMMARY}


def table_of(rows: Rows, run: Row) -> Table:
    """What was measured."""
    steps = tuple(dict.fromkeys((row["stage"], row["epoch"]) for row in rows))
    at = {step: index for index, step in enumerate(steps)}
    values: dict[str, np.ndarray] = {}
    for row in rows:
        name = str(RENAMED.get(row["quantity"], row["quantity"]))
        column = values.setdefault(name, np.full((len(steps), len(run.layers)), np.nan))
        column[at[row["stage"], row["epoch"]]] = row["values"]
    ordered = {q.name: values.pop(q.name) for q in ALL if q.name in values} | values
    return Table(tuple(run.layers), steps, ordered, run.units)
