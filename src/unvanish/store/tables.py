"""The tables, and the one way to connect to them."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
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

SCHEMA_VERSION = 2


class Float64s(TypeDecorator):
    """A vector of float64 as its little-endian bytes: exact, NaN included."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: np.ndarray | None, dialect: Any) -> bytes | None:
        return None if value is None else value.astype("<f8").tobytes()

    def process_result_value(self, value: bytes | None, dialect: Any) -> np.ndarray | None:
        return None if value is None else np.frombuffer(value, "<f8").astype(np.float64)


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
    Column("recipe", JSON),
    Column("environment", ForeignKey("environments.id"), nullable=False),
    Column("layers", JSON, nullable=False),
    Column("units", JSON, nullable=False),
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
    Column("data", JSON, nullable=False),
)


def engine_for(file: Path | None, *, readonly: bool) -> Engine:
    """SQLAlchemy's engine over the store's file, or over memory."""
    if file is None:
        return _with_pragmas(create_engine("sqlite://", poolclass=StaticPool), "PRAGMA foreign_keys=ON")
    # A reader may have to roll back what a killed writer left half done, so it opens for writing where it can.
    mode = "rwc" if not readonly else "rw" if os.access(file, os.W_OK) else "ro"
    uri = f"{file.resolve().as_uri()}?mode={mode}"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True, timeout=5), poolclass=NullPool)
    if readonly:
        return engine
    journal = "WAL" if wal_is_safe(sqlite3.sqlite_version_info) else "DELETE"
    return _with_pragmas(engine, "PRAGMA foreign_keys=ON", f"PRAGMA journal_mode={journal}", "PRAGMA synchronous=FULL")


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is free of the WAL-reset bug, which can lose commits when two connections write.

    In 3.7.0 to 3.51.2; fixed in 3.51.3 and, on their branches, in 3.50.7 and 3.44.6.

    >>> wal_is_safe((3, 40, 1)), wal_is_safe((3, 44, 6)), wal_is_safe((3, 45, 0)), wal_is_safe((3, 51, 3))
    (False, True, False, True)
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)


def _with_pragmas(engine: Engine, *pragmas: str) -> Engine:
    @event.listens_for(engine, "connect")
    def set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in pragmas:
            connection.execute(pragma)

    return engine
