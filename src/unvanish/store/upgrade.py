"""Stores of version 1, upgraded in place: in one transaction, so that a crash leaves the old one or the new one."""

import json
from typing import Any

from sqlalchemy import Connection, inspect, text

from unvanish.store.reading import RENAMED, read_epochs, summary_of
from unvanish.store.tables import SCHEMA_VERSION, metadata, runs, schema


def is_version_1(connection: Connection) -> bool:
    tables = inspect(connection).get_table_names()
    return "runs" in tables and connection.execute(text("select version from schema")).scalar() == 1


def upgrade(connection: Connection) -> None:
    """From version 1. The caller holds the writer's lock, and commits."""
    connection.execute(text("begin immediate"))
    metadata.create_all(connection)
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
        epochs = read_epochs(connection, row["digest"])
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
    connection.execute(schema.update().values(version=SCHEMA_VERSION))


def _run(row: Any) -> dict[str, Any]:
    recipe, layers = json.loads(row["recipe"]), json.loads(row["layers"])
    return {
        "digest": row["digest"],
        "recipe": recipe,
        "environment": row["environment"],
        "layers": layers,
        "units": dict(zip(layers, [*recipe["network"]["hidden"], recipe["network"]["classes"]], strict=True)),
        "state": row["state"],
        "error": row["error"],
        "weights": row["weights"] is not None,
        "begun": row["begun"],
    }
