"""The tables: the same in SQLite and in PostgreSQL."""

import json
from functools import lru_cache
from typing import Any

import numpy as np
from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    func,
    literal_column,
)
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = 4  # the last revision in migrations/versions


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


class Number(TypeDecorator):
    """A float, whose NaN is NULL: SQLite makes that of it, and the checksums are over what is read."""

    impl = Float
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Any) -> float | None:
        return None if value is None or value != value else value


class Json(TypeDecorator):
    """JSON, of which a damaged text is given as it is: one such row must not keep others from being read.

    shared   many rows have the same, which is decoded once for all of them: not to be changed
    """

    impl = String
    cache_ok = True

    def __init__(self, *, shared: bool = False) -> None:
        super().__init__()
        self.shared = shared

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        try:
            if value is None:
                return None
            return _decoded_once(value) if self.shared else json.loads(value)
        except (ValueError, TypeError):
            return value


@lru_cache(maxsize=256)
def _decoded_once(text: str) -> Any:
    return json.loads(text)


metadata = MetaData()

schema = Table("schema", metadata, Column("version", Integer, primary_key=True))

environments = Table(
    "environments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("facts", String, nullable=False),  # canonical JSON
    UniqueConstraint("facts").ddl_if(dialect="sqlite"),
    # PostgreSQL takes at most 2,704 bytes into an index
    Index("environments_facts", func.md5(literal_column("facts")), unique=True).ddl_if(dialect="postgresql"),
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
    Column("layers", Json(shared=True), nullable=False),
    Column("units", Json(shared=True), nullable=False),
    Column("state", String, nullable=False),
    Column("error", String),
    Column("checkpoint_stage", Integer),  # after which its checkpoint was written, if it has one
    Column("checkpoint_epoch", Integer),
    Column("weights", Boolean, nullable=False, default=False),  # whether there is a file of them
    Column("begun", Float, nullable=False),  # seconds since 1970
    Column("epochs", Integer, nullable=False, default=0),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("last_val_acc", Number),
    Column("best_val_acc", Number),
    Column("seconds_to_70", Number),
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

curve = _of_a_run("curve", *(Column(name, Number) for name in FIGURES))

series = _of_a_run(
    "series",
    Column("quantity", String, primary_key=True),
    Column("values", Float64s, nullable=False),  # one for each layer of the run
)

events = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # without gaps, which a server's own numbers have
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

claims = Table(  # which writer trains which run: see backends/leases.py
    "claim",
    metadata,
    Column("digest", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("until", Float, nullable=False),  # seconds since 1970 by the server's clock
)

blobs = Table(  # the files of a store that has no folder: see backends/row_files.py
    "blob",
    metadata,
    Column("run", String, primary_key=True),  # the start of its digest, as in the file's name
    Column("name", String, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
