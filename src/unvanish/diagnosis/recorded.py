"""A run of a store, diagnosed by the same checks from what was recorded of it."""

import math

import numpy as np

from unvanish.core.table import Table
from unvanish.core.values import counted
from unvanish.diagnosis.diagnosis import Diagnosis, diagnose
from unvanish.diagnosis.examination import Examination
from unvanish.store.record import Record

CLASSES = 10  # where the recipe does not say how many
LEARNED = 0.2  # of the way from guessing to no error


def diagnose_run(record: Record, step: int = 0) -> Diagnosis:
    """The diagnosis at a measured step of a run: 0 is before its first step, −1 its end.

    Whether it learned is what its validation accuracy came to in the end, in the last stage.
    """
    learned = _learned(record)
    table = _with_norms(record.table.at(step)) if record.table.steps else record.table
    examination = Examination(table, learned=learned, diverged=record.outcome.state == "diverged")
    return diagnose(examination, title=_title(record), verdict=_verdict(record, learned))


def _learned(record: Record) -> bool | None:
    """Whether the run ended a fifth of the way from guessing to no error."""
    last = record.outcome.last_val_acc
    if last is None or not math.isfinite(last):
        return None
    guess = 1 / getattr(getattr(record.recipe, "network", None), "classes", CLASSES)
    return (last - guess) / (1 - guess) >= LEARNED


def _title(record: Record) -> str:
    return f"the network {record.recipe.network}" if record.recipe is not None else record.name


def _verdict(record: Record, learned: bool | None) -> str | None:
    """In words for what was recorded: there was no trial."""
    last, best = record.outcome.last_val_acc, record.outcome.best_val_acc
    if last is None or best is None:
        return f"Of {_title(record)} no accuracy was recorded, so whether it learned is not known."
    trained = counted(record.outcome.epochs, "epoch")
    ended = f"{_title(record)} ended with a validation accuracy of {last:.4f} after {trained}"
    if learned:
        return f"{ended}: it learned."
    earlier = f", though {best:.4f} was reached on the way" if (best - last) * CLASSES > 1 else ""
    return f"{ended}{earlier}: it did not learn."


def _with_norms(table: Table) -> Table:
    """Old stores kept no norms: where all layers are of one width, the RMS has the same ratios; else it has not."""
    values = dict(table.values)
    if "backward_norm" not in values and "backward_rms" in values:
        widths = np.array([table.units.get(layer, 0) for layer in table.layers], dtype=float)
        values["backward_norm"] = values["backward_rms"] * np.where(widths > 0, np.sqrt(np.maximum(widths, 1)), np.nan)
    return Table(table.layers, table.steps, values, table.units, table.over_calls)
