"""From rows to the types of `core` and back."""

import hashlib
import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, select

from unvanish.core.arguments import MOST
from unvanish.core.curve import Epoch, Outcome
from unvanish.core.errors import UnvanishError
from unvanish.core.recipe import Recipe
from unvanish.core.table import Table
from unvanish.measure.quantities import ALL
from unvanish.store.files import DIGEST, checkpoint_name
from unvanish.store.tables import FIGURES, SUMMARY, curve, series

# What quantities were called in stores of version 1.
RENAMED = {"backward_signal": "backward_rms", "weight_gradient": "weight_gradient_norm"}

STATES = ("unfinished", "finished", "diverged", "failed")

Rows = Sequence[Any]  # mappings by column


def rows_of(connection: Connection, digest: str) -> tuple[Rows, Rows]:
    """Of a run: the rows of its curve, and those of what was measured, in their order."""
    of_series = select(series).where(series.c.digest == digest).order_by(series.c.stage, series.c.epoch)
    return curve_rows(connection, digest), connection.execute(of_series).mappings().all()


def curve_rows(connection: Connection, digest: str) -> Rows:
    of_curve = select(curve).where(curve.c.digest == digest).order_by(curve.c.stage, curve.c.epoch)
    return connection.execute(of_curve).mappings().all()


def recipe_of(row: Row) -> Recipe | None:
    """Validated once for all recipes that differ in no more than these two numbers, which are a study's many runs."""
    kept = row.recipe
    if not isinstance(kept, dict) or not (type(kept.get("seed")) is int and type(kept.get("epochs")) is int):
        return None if kept is None else Recipe.model_validate(kept)
    alike = _validated(json.dumps(kept | ALIKE, sort_keys=True))
    own = {name: kept[name] for name in ALIKE}
    if not (0 <= own["seed"] < 2**63 and 1 <= own["epochs"] <= MOST):
        return Recipe.model_validate(kept)
    return alike.model_copy(update=own)


ALIKE = {"seed": 0, "epochs": 1}


@lru_cache(maxsize=1024)
def _validated(canonical: str) -> Recipe:
    return Recipe.model_validate(json.loads(canonical))


def is_its_digest(run: Row) -> bool:
    """Whether a run's digest is that of its recipe or name, as far as these can be read."""
    try:
        recipe = recipe_of(run)
        own = digest_of_name(run.name) if recipe is None else recipe.digest()
    except (UnvanishError, TypeError, ValueError):
        return isinstance(run.digest, str) and DIGEST.fullmatch(run.digest) is not None
    return run.digest == own


def digest_of_name(name: str) -> str:
    """Of a setup of one's own."""
    return hashlib.sha256(f"name: {name}".encode()).hexdigest()


def can_be_read(run: Row, environment: Any, of_curve: Rows, of_series: Rows) -> bool:
    """Whether what a store without checksums holds of a run is of the types that it has to be."""
    try:
        recipe_of(run)
        json.loads(environment)
        if run.checkpoint_epoch is not None:
            checkpoint_name(run.digest, run.checkpoint_stage, run.checkpoint_epoch)
        numbers = [run.begun, run.seconds, *(row[name] for row in of_curve for name in ("stage", "epoch"))]
        perhaps = [run.last_val_acc, run.best_val_acc, *(row[name] for row in of_curve for name in FIGURES)]
        return (
            DIGEST.fullmatch(run.digest) is not None
            and run.state in STATES
            and type(run.epochs) is int
            and isinstance(run.layers, list)
            and all(isinstance(layer, str) for layer in run.layers)
            and all(isinstance(number, int | float) for number in numbers)
            and all(number is None or isinstance(number, int | float) for number in perhaps)
            and all(row["values"] is not None and len(row["values"]) == len(run.layers) for row in of_series)
        )
    except (UnvanishError, TypeError, ValueError, KeyError):
        return False


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
    return Table(tuple(run.layers), steps, ordered, dict(run.units))
