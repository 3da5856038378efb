"""SQLite: how it is connected to, and how its writer commits."""

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.pool import NullPool, StaticPool

log = logging.getLogger("unvanish")


def engine_for(file: Path | None, *, readonly: bool) -> Engine:
    """SQLAlchemy's engine over the store's file, or over memory.

    With a rollback journal: readers of a write-ahead log create files beside it, and SQLite 3.7.0 to 3.51.2 can lose
    commits in one when two connections write.
    """
    if file is None:
        return _with(create_engine("sqlite://", poolclass=StaticPool), "PRAGMA foreign_keys=ON")
    uri = f"{file.resolve().as_uri()}?mode={'ro' if readonly else 'rwc'}"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True, timeout=5), poolclass=NullPool)
    if readonly:
        return _with(engine)
    return _with(engine, "PRAGMA foreign_keys=ON", "PRAGMA journal_mode=DELETE", "PRAGMA synchronous=FULL")


def as_text(stored: bytes) -> str:
    """What is no UTF-8, since it is damaged, as a text that no undamaged one is equal to."""
    return stored.decode("utf-8", "surrogateescape")


def _with(engine: Engine, *pragmas: str) -> Engine:
    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.text_factory = as_text
        for pragma in pragmas:
            connection.execute(pragma)

    return engine


def faults(connection: Connection) -> Iterator[str]:
    """What SQLite finds wrong with its file."""
    for line in connection.execute(text("pragma integrity_check")).scalars():
        if line != "ok":
            yield line


def commit(connection: Connection, place: str) -> None:
    """Commit the writer's transaction. Nobody else writes, so "locked" means that a reader holds on: wait it out."""
    # By the driver: SQLAlchemy gives a transaction up when its commit fails, SQLite does not.
    driver = connection.connection.driver_connection
    assert driver is not None
    told = False
    while True:
        try:
            driver.commit()
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            if not told:
                log.warning("another program is reading %s for long; waiting for it", place)
                told = True
    connection.commit()
