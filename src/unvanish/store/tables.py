"""The tables, and the one way to connect to them."""

import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
)
from sqlalchemy.pool import NullPool, StaticPool
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = 3

log = logging.getLogger("unvanish")


class Float64s(TypeDecorator):
    """A vector of float64 as its little-endian bytes: exact, NaN included."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: np.ndarray | None, dialect: Any) -> bytes | None:
        return None if value is None else value.astype("<f8").tobytes()

    def process_result_value(self, value: bytes | None, dialect: Any) -> np.ndarray | None:
        if not isinstance(value, bytes) or len(value) % 8:
            return None  # damaged: what reads it compares checksums
        return np.frombuffer(value, "<f8").astype(np.float64)


class Json(TypeDecorator):
    """JSON, of which a damaged text is given as it is: one such row must not keep others from being read."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        try:
            return None if value is None else json.loads(value)
        except (ValueError, TypeError):
            return value


metadata = MetaData()

schema = Table("schema", metadata, Column("version", Integer, primary_key=True))

environments = Table(
    "environments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("facts", String, unique=True, nullable=False),  # canonical JSON
)

# A summary is columns, so that a list of runs needs no curve.
SUMMARY = ("epochs", "seconds", "last_val_acc", "best_val_acc", "seconds_to_70")

runs = Table(
    "run",
    metadata,
    Column("digest", String, primary_key=True),
    Column("name", String),  # of a setup of one's own, which has no recipe
    Column("recipe", Json),
    Column("environment", ForeignKey("environments.id"), nullable=False),
    Column("layers", Json, nullable=False),
    Column("units", Json, nullable=False),
    Column("state", String, nullable=False),
    Column("error", String),
    Column("checkpoint_stage", Integer),  # after which its checkpoint was written, if it has one
    Column("checkpoint_epoch", Integer),
    Column("weights", Boolean, nullable=False, default=False),  # whether there is a file of them
    Column("begun", Float, nullable=False),  # seconds since 1970
    Column("epochs", Integer, nullable=False, default=0),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("last_val_acc", Float),
    Column("best_val_acc", Float),
    Column("seconds_to_70", Float),
    # see checksums.py; of a file that is there
    Column("history", String),
    Column("checkpoint_sha256", String),
    Column("weights_sha256", String),
    Column("checksum", String),
)


def _of_a_run(name: str, *columns: Column) -> Table:
    run = Column("digest", ForeignKey("run.digest", ondelete="CASCADE"), primary_key=True)
    stage, epoch = Column("stage", Integer, primary_key=True), Column("epoch", Integer, primary_key=True)
    return Table(name, metadata, run, stage, epoch, *columns, sqlite_with_rowid=False)


FIGURES = ("train_loss", "train_acc", "val_loss", "val_acc", "seconds")

# A NaN loss is stored as NULL, which is what SQLite makes of it.
curve = _of_a_run(
    "curve",
    *(Column(name, Float) for name in FIGURES),
)

series = _of_a_run(
    "series",
    Column("quantity", String, primary_key=True),
    Column("values", Float64s, nullable=False),  # one for each layer of the run
)

events = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),  # seconds since 1970
    Column("kind", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("data", Json, nullable=False),
    Column("checksum", String),
)

totals = Table(  # one row: how many runs and events there are, and the checksum over all runs
    "total",
    metadata,
    Column("runs", Integer, nullable=False),
    Column("checksum", String, nullable=False),
    Column("events", Integer, nullable=False),
)


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


def commit(connection: Connection, folder: Path | None) -> None:
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
                log.warning("another program is reading %s for long; waiting for it", folder)
                told = True
    connection.commit()
