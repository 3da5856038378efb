"""The store: begin a run, add chunks to it, read it back. One process writes, any number read."""

import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, delete, insert, select, update

from unvanish.core.errors import StoreError
from unvanish.core.packing import unpack
from unvanish.core.progress import Chunk
from unvanish.core.recipe import Recipe
from unvanish.core.record import Outcome, Record
from unvanish.store.files import checkpoint_name, is_ours, weights_name, write_whole
from unvanish.store.reading import read_epochs, read_outcome, read_series
from unvanish.store.sentences import in_sentences
from unvanish.store.tables import (
    SCHEMA_VERSION,
    Header,
    engine_for,
    environments,
    epochs,
    flow,
    metadata,
    runs,
    schema,
)

log = logging.getLogger("unvanish")

FILE, LOCK, OWNER = "unvanish.sqlite", "lock", "owner"
FOLDERS = ("checkpoints", "weights")
ENDED = ("finished", "diverged")


@dataclass(frozen=True)
class Start:
    """Where a run stands when it is begun: ended already, or to go on from a checkpoint, or from nothing.

    `environment` is what it was begun under, which is what it goes on under.
    """

    ended: bool
    environment: dict[str, Any]
    checkpoint: bytes | None = None
    epochs: int = 0


@dataclass(frozen=True)
class Summary:
    """One run in a list."""

    digest: str
    recipe: Recipe
    outcome: Outcome
    begun: float


class Store:
    """Use `writer(folder)`, `reader(folder)` or `in_memory()`."""

    def __init__(self, folder: Path | None, engine: Engine) -> None:
        self._folder, self._engine = folder, engine
        self._files: dict[str, bytes] = {}  # in place of the folder, in memory

    # Opening

    @classmethod
    @contextmanager
    def writer(cls, folder: str | Path) -> Iterator[Self]:
        """The only writer of the store in this folder, which is made if need be.

        Raises `StoreError` where another process is writing to it, or where nothing can be written.
        """
        folder = Path(folder)
        with in_sentences(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(folder)
            lock = _locked(folder)
        try:
            yield cls._opened(folder)
        finally:
            lock.release()

    @classmethod
    def _opened(cls, folder: Path) -> Self:
        """The store behind the lock, with its tables, without what a killed writer left over."""
        store = cls(folder, engine_for(folder / FILE, readonly=False))
        with in_sentences(folder):
            (folder / OWNER).write_text(f"{os.getpid()}\n")
            metadata.create_all(store._engine)
        with store._writing() as connection:
            if connection.execute(select(schema)).first() is None:
                connection.execute(insert(schema).values(version=SCHEMA_VERSION))
        store._check_version()
        store._remove_orphans()
        return store

    @classmethod
    def reader(cls, folder: str | Path) -> Self:
        """Reads while another process may be writing. Raises `StoreError` where there is no store."""
        file = Path(folder) / FILE
        if not file.exists():
            raise StoreError(f"{folder} holds no store yet; `unvanish reproduce --store {folder}` makes one")
        store = cls(Path(folder), engine_for(file, readonly=True))
        store._check_version()
        return store

    @classmethod
    @contextmanager
    def in_memory(cls) -> Iterator[Self]:
        """A store that nobody else sees."""
        store = cls(None, engine_for(None, readonly=False))
        metadata.create_all(store._engine)
        yield store
        store._engine.dispose()

    # Writing

    def begin(self, recipe: Recipe, header: Header, *, fresh: bool = False) -> Start:
        """Make sure that the run is there, and say where it stands. `fresh` forgets it."""
        digest = recipe.digest()
        with self._writing() as connection:
            row = connection.execute(select(runs).where(runs.c.digest == digest)).first()
            if row is not None and not fresh:
                begun_under = _facts(connection, row.environment)
                if row.state in ENDED:
                    return Start(ended=True, environment=begun_under)
                done = read_epochs(connection, digest)
                if row.checkpoint is not None and done:
                    checkpoint = self._read_file(checkpoint_name(digest, done[-1]))
                    return Start(False, begun_under, checkpoint, epochs=len(done))
            connection.execute(delete(runs).where(runs.c.digest == digest))
            connection.execute(
                insert(runs).values(
                    digest=digest,
                    recipe=recipe.model_dump(mode="json"),
                    environment=_environment_id(connection, header.environment),
                    layers=list(header.layers),
                    probes=header.probes,
                    state="unfinished",
                    begun=time.time(),
                )
            )
        self._remove_orphans()
        return Start(ended=False, environment=header.environment)

    def add(self, digest: str, chunk: Chunk) -> None:
        """Keep a chunk. When this returns, it is on disk: all of it, its checkpoint included."""
        with in_sentences(self._folder):
            files: dict[str, str | None] = {"checkpoint": None, "weights": None}
            if chunk.checkpoint is not None:
                files["checkpoint"] = checkpoint_name(digest, chunk.rows[-1])
                self._write_file(files["checkpoint"], chunk.checkpoint)
            if chunk.weights is not None:
                files["weights"] = weights_name(digest)
                self._write_file(files["weights"], chunk.weights)
        with self._writing() as connection:
            probes = connection.execute(select(runs.c.probes).where(runs.c.digest == digest)).scalar_one()
            before = read_epochs(connection, digest)
            if chunk.rows:
                connection.execute(insert(epochs), [{"digest": digest, **asdict(row)} for row in chunk.rows])
            measured = [
                {"digest": digest, "stage": stage, "epoch": epoch, "probe": probe, "values": values}
                for (stage, epoch), rows in chunk.flow.items()
                for probe, values in zip(probes, rows, strict=True)
            ]
            if measured:
                connection.execute(insert(flow), measured)
            kept = {} if chunk.state == "failed" else files  # a failed run keeps its checkpoint, to go on from
            connection.execute(
                update(runs).where(runs.c.digest == digest).values(state=chunk.state, error=chunk.error, **kept)
            )
        if before and chunk.rows and chunk.state != "failed":
            self._remove_file(checkpoint_name(digest, before[-1]))

    # Reading

    def summaries(self) -> list[Summary]:
        """Every run, in the order in which they were begun."""
        with self._reading() as connection:
            rows = connection.execute(select(runs).order_by(runs.c.begun)).all()
            return [
                Summary(row.digest, Recipe.model_validate(row.recipe), read_outcome(connection, row), row.begun)
                for row in rows
            ]

    def record(self, digest: str, *, weights: bool = True) -> Record:
        """One run in full. Raises `StoreError` where it is not in the store."""
        with self._reading() as connection:
            row = connection.execute(select(runs).where(runs.c.digest == digest)).first()
            if row is None:
                raise StoreError(f"run {digest[:12]} is not in {self._folder}")
            return Record(
                recipe=Recipe.model_validate(row.recipe),
                environment=_facts(connection, row.environment),
                epochs=tuple(read_epochs(connection, digest)),
                series=read_series(connection, row),
                outcome=read_outcome(connection, row),
                weights=unpack(self._read_file(weights_name(digest)))[1] if weights and row.weights else None,
            )

    # Connections

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction of the writer: committed, and on disk, when the block ends.

        Nobody else writes, so "locked" means that a reader holds on to its transaction: wait it out.
        """
        with in_sentences(self._folder), self._engine.connect() as connection:
            yield connection
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
                        log.warning("another program is reading %s for long; waiting for it", self._folder)
                        told = True
            connection.commit()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with in_sentences(self._folder), self._engine.connect() as connection:
            yield connection

    def _check_version(self) -> None:
        with self._reading() as connection:
            found = connection.execute(select(schema.c.version)).scalar()
        if found != SCHEMA_VERSION:
            raise StoreError(
                f"{self._folder} has schema version {found}, this unvanish has {SCHEMA_VERSION}; "
                "name another folder with --store"
            )

    # Files

    def _write_file(self, name: str, content: bytes) -> None:
        if self._folder is None:
            self._files[name] = content
        else:
            write_whole(self._folder / name, content)

    def _read_file(self, name: str) -> bytes:
        with in_sentences(self._folder):
            return self._files[name] if self._folder is None else (self._folder / name).read_bytes()

    def _remove_file(self, name: str) -> None:
        if self._folder is None:
            self._files.pop(name, None)
        else:
            (self._folder / name).unlink(missing_ok=True)

    def _remove_orphans(self) -> None:
        """Files of ours that a killed writer left behind before it could name them in a transaction."""
        if self._folder is None:
            return
        named: set[str] = set()
        with self._reading() as connection:
            digests = list(connection.execute(select(runs.c.digest)).scalars())
            kept = select(runs.c.digest, runs.c.checkpoint, runs.c.weights)
            for run in connection.execute(kept.where(runs.c.checkpoint.is_not(None) | runs.c.weights.is_not(None))):
                done = read_epochs(connection, run.digest)
                if run.checkpoint is not None and done:
                    named.add(checkpoint_name(run.digest, done[-1]))
                if run.weights is not None:
                    named.add(weights_name(run.digest))
        for kind in FOLDERS:
            for path in (self._folder / kind).glob("*"):
                name = f"{kind}/{path.name}"
                if name not in named and is_ours(name, digests) and path.is_file():
                    path.unlink()


def _refuse_foreign(folder: Path) -> None:
    """Raise `StoreError` where something else stands at a name of ours, before anything is written."""
    for name in (FILE, LOCK, OWNER, *FOLDERS):
        if (folder / name).is_symlink():
            raise StoreError(f"{folder / name} is a link, and a store writes to no other place; name another folder")
    for name in (LOCK, OWNER):
        path = folder / name
        if path.exists() and (not path.is_file() or not re.fullmatch(rb"\d*\n?", path.read_bytes()[:32])):
            raise StoreError(f"{path} is not a store's file, and is left as it is; name another folder with --store")


def _locked(folder: Path) -> FileLock:
    """The lock of the store's only writer, held."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        owner = folder / OWNER
        process = f"process {owner.read_text().strip()}" if owner.exists() else "which has only begun"
        raise StoreError(
            f"another unvanish ({process}) is writing to {folder}; wait for it to end, "
            "or name another folder with --store"
        ) from error
    return lock


def _facts(connection: Connection, environment: int) -> dict[str, Any]:
    facts = select(environments.c.facts).where(environments.c.id == environment)
    return json.loads(connection.execute(facts).scalar_one())


def _environment_id(connection: Connection, facts: dict[str, Any]) -> int:
    canonical = json.dumps(facts, sort_keys=True)
    known = connection.execute(select(environments.c.id).where(environments.c.facts == canonical)).scalar()
    if known is not None:
        return known
    return connection.execute(insert(environments).values(facts=canonical)).inserted_primary_key[0]  # type: ignore[index]
