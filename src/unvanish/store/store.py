"""The store in a folder: a SQLite file, with weights and checkpoints as safetensors beside it; or in memory."""

import hashlib
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, Row, delete, insert, select, update

from unvanish.core.errors import StoreError
from unvanish.core.recipe import Recipe
from unvanish.core.serialisation import unpack
from unvanish.store.chunk import Chunk, rows_of_table
from unvanish.store.conditions import environment_id, facts_of, going_on
from unvanish.store.events import Event
from unvanish.store.files import Files, checkpoint_name, refuse_foreign, weights_name
from unvanish.store.lock import LOCK, OWNER, locked, sign
from unvanish.store.protocol import ENDED, Header, Start, Summary
from unvanish.store.reading import outcome_of, read_epochs, read_table, summary_of
from unvanish.store.record import Record
from unvanish.store.sentences import in_sentences
from unvanish.store.tables import (
    SCHEMA_VERSION,
    curve,
    engine_for,
    events,
    metadata,
    runs,
    schema,
    series,
)
from unvanish.store.upgrade import is_version_1, upgrade

log = logging.getLogger("unvanish")

FILE = "unvanish.sqlite"


class Store:
    """A `RunStore`. Use `writer(folder)`, `reader(folder)` or `in_memory()`."""

    def __init__(self, folder: Path | None, engine: Engine) -> None:
        self._folder, self._engine, self._files = folder, engine, Files(folder)

    def __repr__(self) -> str:
        return f"Store({str(self._folder) if self._folder else 'in memory'!r})"

    # Opening

    @classmethod
    @contextmanager
    def writer(cls, folder: str | Path) -> Iterator[Self]:
        """The only writer of the store in this folder, which is made if need be; an older one is upgraded.

        Raises `StoreError` where another process is writing to it, or where nothing can be written.
        """
        folder = Path(folder)
        with in_sentences(folder):
            folder.mkdir(parents=True, exist_ok=True)
            refuse_foreign(folder, (FILE,), (LOCK, OWNER))
            lock = locked(folder)
        try:
            yield cls._opened(folder)
        finally:
            lock.release()

    @classmethod
    def _opened(cls, folder: Path) -> Self:
        """The store behind the lock, with its tables, without what a killed writer left over."""
        store = cls(folder, engine_for(folder / FILE, readonly=False))
        with in_sentences(folder):
            sign(folder)
        with store._writing() as connection:
            if is_version_1(connection):
                upgrade(connection)
        with store._writing() as connection:
            metadata.create_all(connection)
            if connection.execute(select(schema)).first() is None:
                connection.execute(insert(schema).values(version=SCHEMA_VERSION))
        store._check_version()
        store._remove_left_over()
        return store

    def _remove_left_over(self) -> None:
        """Checkpoints and half-written files of our runs that a killed writer left before it could name them."""
        for name, digest in self._files.perhaps_left_over():
            with self._reading() as connection:
                row = connection.execute(select(runs).where(runs.c.digest.between(digest, f"{digest}g"))).first()
            if row is not None and name != _checkpoint_of(row):
                self._files.remove(name)

    @classmethod
    def reader(cls, folder: str | Path) -> Self:
        """Reads while another process may be writing; an older store is upgraded first.

        Raises `StoreError` where there is no store.
        """
        file = Path(folder) / FILE
        if not file.exists():
            raise StoreError(f"'{folder}' holds no store yet; `unvanish reproduce --store {folder}` makes one")
        store = cls(Path(folder), engine_for(file, readonly=True))
        with store._reading() as connection:
            old = is_version_1(connection)
        if old:
            with cls.writer(folder):
                pass
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
        return self._begin(recipe.digest(), header, fresh, recipe=recipe.model_dump(mode="json"))

    def begin_named(self, name: str, header: Header, *, fresh: bool = False) -> tuple[str, Start]:
        """The same for a run of a setup that has a name in place of a recipe; and the digest of the name."""
        digest = hashlib.sha256(f"name: {name}".encode()).hexdigest()
        return digest, self._begin(digest, header, fresh, name=name)

    def _begin(self, digest: str, header: Header, fresh: bool, **what: Any) -> Start:
        with self._writing() as connection:
            row = _run(connection, digest)
            if row is not None and not fresh:
                begun_under = facts_of(connection, row.environment)
                if row.state in ENDED:
                    if list(row.layers) != list(header.layers):
                        raise StoreError(
                            f"{self._folder} keeps a run {row.name!r} of a network of other layers "
                            f"({', '.join(row.layers)}): give another name, or fresh=True to train it anew"
                        )
                    return Start(ended=True, environment=begun_under)
                if row.checkpoint_epoch is not None:
                    facts = going_on(begun_under, header.environment)
                    if facts != begun_under:
                        changed = {"environment": environment_id(connection, facts)}
                        connection.execute(update(runs).where(runs.c.digest == digest).values(changed))
                    return Start(False, facts, self._files.read(_checkpoint_of(row)), epochs=row.epochs)
            connection.execute(delete(runs).where(runs.c.digest == digest))
            connection.execute(
                insert(runs).values(
                    digest=digest,
                    environment=environment_id(connection, header.environment),
                    layers=list(header.layers),
                    units={},
                    state="unfinished",
                    begun=time.time(),
                    **what,
                )
            )
        if row is not None:
            self._files.remove(weights_name(digest))
            if row.checkpoint_epoch is not None:
                self._files.remove(_checkpoint_of(row))
        return Start(ended=False, environment=header.environment)

    def add(self, digest: str, chunk: Chunk) -> None:
        """Keep a chunk. When this returns, it is on disk: all of it, its checkpoint included."""
        changed: dict[str, Any] = {"state": chunk.state, "error": chunk.error}
        kept = None
        with in_sentences(self._folder):
            if chunk.checkpoint is not None:
                last = chunk.rows[-1]
                kept = checkpoint_name(digest, last.stage, last.epoch)
                self._files.write(kept, chunk.checkpoint)
            if chunk.weights is not None:
                self._files.write(weights_name(digest), chunk.weights)
        with self._writing() as connection:
            before = _run(connection, digest)
            assert before is not None, f"run {digest[:12]} was never begun"
            if chunk.rows:
                connection.execute(insert(curve), [{"digest": digest, **asdict(row)} for row in chunk.rows])
                changed |= summary_of(read_epochs(connection, digest), chunk.state)
            measured = rows_of_table(chunk.measured, before.layers)
            if measured:
                connection.execute(insert(series), [{"digest": digest, **row} for row in measured])
                changed["units"] = dict(chunk.measured.units)
            if chunk.state != "failed":  # a failed run keeps its checkpoint, to go on from
                last = chunk.rows[-1] if chunk.checkpoint is not None else None
                changed |= {
                    "checkpoint_stage": last and last.stage,
                    "checkpoint_epoch": last and last.epoch,
                    "weights": chunk.weights is not None,
                }
            connection.execute(update(runs).where(runs.c.digest == digest).values(**changed))
        if chunk.state != "failed" and before.checkpoint_epoch is not None and _checkpoint_of(before) != kept:
            self._files.remove(_checkpoint_of(before))

    def note(self, happened: Sequence[Event]) -> None:
        """Append to what has happened."""
        rows = [{"at": time.time(), "kind": e.kind, "digest": e.digest, "data": dict(e.data)} for e in happened]
        if rows:
            with self._writing() as connection:
                connection.execute(insert(events), rows)

    # Reading

    def summaries(self) -> list[Summary]:
        """Every run, in the order in which they were begun."""
        with self._reading() as connection:
            rows = connection.execute(select(runs).order_by(runs.c.begun)).all()
        return [Summary(row.digest, _recipe(row), row.name, outcome_of(row), row.begun) for row in rows]

    def record(self, digest: str, *, weights: bool = True) -> Record:
        """One run in full. Raises `StoreError` where it is not in the store."""
        with self._reading() as connection:
            row = _run(connection, digest)
            if row is None:
                raise StoreError(f"run {digest[:12]} is not in {self._folder}")
            return Record(
                recipe=_recipe(row),
                name=row.name or row.digest,
                environment=facts_of(connection, row.environment),
                epochs=tuple(read_epochs(connection, digest)),
                table=read_table(connection, row),
                outcome=outcome_of(row),
                weights=unpack(self._files.read(weights_name(digest)))[1] if weights and row.weights else None,
            )

    def events(self, after: int = 0) -> list[Event]:
        """What has happened since the event of that number: call it again and again to follow a study that runs."""
        with self._reading() as connection:
            rows = connection.execute(select(events).where(events.c.id > after).order_by(events.c.id)).all()
        return [Event(row.kind, row.digest, row.data, row.id, row.at) for row in rows]

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


def _run(connection: Connection, digest: str) -> Row | None:
    return connection.execute(select(runs).where(runs.c.digest == digest)).first()


def _recipe(row: Row) -> Recipe | None:
    return None if row.recipe is None else Recipe.model_validate(row.recipe)


def _checkpoint_of(row: Row) -> str:
    """The name follows from the run; none that is written anywhere is believed."""
    return checkpoint_name(row.digest, row.checkpoint_stage, row.checkpoint_epoch)
