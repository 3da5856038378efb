"""Stores of versions 1 and 2, which were in SQLite only, in the transaction of the caller."""

import json
from typing import Any

from sqlalchemy import Connection, text

from unvanish.core.curve import Epoch
from unvanish.store.backends.protocol import Session
from unvanish.store.reading import RENAMED, epochs_of, rows_of, summary_of
from unvanish.store.sealing import seal_all
from unvanish.store.tables import curve, environments, events, metadata, runs, schema, series, totals

OF_VERSION_3 = (schema, environments, runs, curve, series, events, totals)


def upgrade(session: Session, version: int) -> None:
    """From version 1 or 2 to 3."""
    (_from_version_1 if version == 1 else _from_version_2)(session.connection)
    seal_all(session.connection, session.files)


def _from_version_2(connection: Connection) -> None:
    """It had no checksums."""
    for table, columns in (
        ("run", ("history", "checkpoint_sha256", "weights_sha256", "checksum")),
        ("event", ("checksum",)),
    ):
        for column in columns:
            connection.execute(text(f"alter table {table} add column {column} varchar"))
    metadata.create_all(connection, tables=OF_VERSION_3)


def _from_version_1(connection: Connection) -> None:
    """It had other tables, and no summaries."""
    metadata.create_all(connection, tables=OF_VERSION_3)
    old_runs = connection.execute(text("select * from runs")).mappings().all()
    for row in old_runs:
        connection.execute(runs.insert().values(_run(row)))
    connection.execute(
        text(
            "insert into curve (digest, stage, epoch, train_loss, train_acc, val_loss, val_acc, seconds) "
            "select digest, stage, epoch, train_loss, train_acc, val_loss, val_acc, seconds from epochs"
        )
    )
    for row in old_runs:
        epochs = _epochs(connection, row["digest"])
        last = epochs[-1] if epochs and row["checkpoint"] is not None else None
        found = summary_of(epochs, row["state"]) | {
            "checkpoint_stage": last and last.stage,
            "checkpoint_epoch": last and last.epoch,
        }
        connection.execute(runs.update().where(runs.c.digest == row["digest"]).values(found))
    for old in dict.fromkeys(connection.execute(text("select distinct probe from flow")).scalars()):
        connection.execute(
            text(
                'insert into series (digest, stage, epoch, quantity, "values") '
                'select digest, stage, epoch, :new, "values" from flow where probe = :old'
            ),
            {"old": old, "new": RENAMED.get(old, old)},
        )
    for table in ("flow", "epochs", "runs"):
        connection.execute(text(f"drop table {table}"))


def _epochs(connection: Connection, digest: str) -> list[Epoch]:
    """None of a run whose curve is damaged, which is told when it is read."""
    epochs = epochs_of(rows_of(connection, digest)[0])
    return epochs if all(isinstance(row.val_acc, float) for row in epochs) else []


def _run(row: Any) -> dict[str, Any]:
    try:
        recipe, layers = json.loads(row["recipe"]), json.loads(row["layers"])
        units = dict(zip(layers, [*recipe["network"]["hidden"], recipe["network"]["classes"]], strict=True))
    except (ValueError, TypeError, KeyError):  # damaged: kept as it is, and told when it is read
        recipe, layers, units = row["recipe"], [], {}
    return {
        "digest": row["digest"],
        "recipe": recipe,
        "environment": row["environment"],
        "layers": layers,
        "units": units,
        "state": row["state"],
        "error": row["error"],
        "weights": row["weights"] is not None,
        "begun": row["begun"],
    }
