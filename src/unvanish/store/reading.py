"""From rows to the types of `core.record`."""

import math

import numpy as np
from sqlalchemy import Connection, Row, select

from unvanish.core.record import Epoch, Outcome, Series
from unvanish.store.tables import FIGURES, epochs, flow


def read_epochs(connection: Connection, digest: str) -> list[Epoch]:
    rows = connection.execute(select(epochs).where(epochs.c.digest == digest).order_by(epochs.c.stage, epochs.c.epoch))
    return [
        Epoch(
            row.stage, row.epoch, *(math.nan if getattr(row, name) is None else getattr(row, name) for name in FIGURES)
        )
        for row in rows
    ]


def read_outcome(connection: Connection, row: Row) -> Outcome:
    return Outcome.of(read_epochs(connection, row.digest), row.state, row.error)


def read_series(connection: Connection, run: Row) -> dict[str, Series]:
    rows = connection.execute(
        select(flow).where(flow.c.digest == run.digest).order_by(flow.c.stage, flow.c.epoch)
    ).all()
    series = {}
    for probe, unit in run.probes.items():
        mine = [row for row in rows if row.probe == probe]
        values = np.stack([row.values for row in mine]) if mine else np.empty((0, len(run.layers)))
        steps = tuple((row.stage, row.epoch) for row in mine)
        series[probe] = Series(probe, unit, tuple(run.layers), steps, values)
    return series
