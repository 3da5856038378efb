"""What is asked of a store: one run in full, its checkpoint, what has happened. The list of runs is in `listing`."""

import json

from sqlalchemy import select

from unvanish.core.errors import StoreError
from unvanish.core.serialisation import unpack
from unvanish.store.backends.protocol import Session
from unvanish.store.conditions import environment_text
from unvanish.store.events import Event
from unvanish.store.files import read_intact, weights_name
from unvanish.store.intact import intact, intact_events, intact_history, naming_the_run
from unvanish.store.reading import epochs_of, outcome_of, recipe_of, rows_of, table_of
from unvanish.store.record import Record
from unvanish.store.rows import checkpoint_of, run_row
from unvanish.store.tables import events, totals


def record(session: Session, place: str, digest: str, *, weights: bool) -> Record:
    connection = session.connection
    row = run_row(connection, digest)
    if row is None:
        raise StoreError(f"run {digest[:12]} is not in {place}")
    with naming_the_run(digest, place):
        environment = intact(row, environment_text(connection, row.environment))
        of_curve, of_series = rows_of(connection, digest)
        intact_history(row, of_curve, of_series)
        wanted = weights and row.weights
        read = read_intact(session.files, weights_name(digest), row.weights_sha256) if wanted else None
        return Record(
            recipe=recipe_of(row),
            name=row.name or row.digest,
            environment=json.loads(environment),
            epochs=tuple(epochs_of(of_curve)),
            table=table_of(of_series, row),
            outcome=outcome_of(row),
            weights=None if read is None else unpack(read)[1],
        )


def events_after(session: Session, place: str, after: int) -> list[Event]:
    kept = session.connection.execute(select(totals.c.events)).scalar()
    rows = session.connection.execute(select(events).where(events.c.id > after).order_by(events.c.id)).all()
    intact_events(rows, after, kept, place)
    return [Event(row.kind, row.digest, row.data, row.id, row.at) for row in rows]


def checkpoint(session: Session, place: str, digest: str) -> bytes | None:
    row = run_row(session.connection, digest)
    if row is None:
        raise StoreError(f"run {digest[:12]} is not in {place}")
    with naming_the_run(digest, place):
        intact(row, environment_text(session.connection, row.environment))
        if row.checkpoint_epoch is None:
            return None
        return read_intact(session.files, checkpoint_of(row), row.checkpoint_sha256)
