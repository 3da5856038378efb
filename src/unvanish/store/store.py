"""The store in a folder: a SQLite file, with weights and checkpoints as safetensors beside it; or in memory."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, Row, delete, insert, select, update

from unvanish.core.arguments import a_path, a_text, not_negative
from unvanish.core.errors import DamagedError, StoreError
from unvanish.core.recipe import Recipe
from unvanish.core.serialisation import unpack
from unvanish.store import checksums
from unvanish.store.chunk import Chunk, rows_of_table
from unvanish.store.conditions import environment_id, going_on, texts_of_environments
from unvanish.store.events import Event
from unvanish.store.files import Files, checkpoint_name, refuse_foreign, weights_name
from unvanish.store.intact import intact, intact_events, intact_history, is_intact, naming_the_run
from unvanish.store.listing import summaries, warn_of_lost_runs
from unvanish.store.lock import LOCK, OWNER, locked, sign
from unvanish.store.opening import readable, refuse_another_s
from unvanish.store.protocol import ENDED, Header, Start, Summary
from unvanish.store.reading import (
    digest_of_name,
    epochs_of,
    is_its_digest,
    outcome_of,
    recipe_of,
    rows_of,
    summary_of,
    table_of,
)
from unvanish.store.record import Record
from unvanish.store.sealing import count, seal_run
from unvanish.store.sentences import in_sentences
from unvanish.store.tables import (
    SCHEMA_VERSION,
    commit,
    curve,
    engine_for,
    events,
    metadata,
    runs,
    schema,
    series,
    totals,
)
from unvanish.store.upgrade import is_old, upgrade

log = logging.getLogger("unvanish")

FILE = "unvanish.sqlite"


class Store:
    """A `RunStore`. Use `writer(folder)`, `reader(folder)` or `in_memory()`."""

    def __init__(self, folder: Path | None, engine: Engine) -> None:
        self.folder, self._engine, self._files = folder, engine, Files(folder)

    def __repr__(self) -> str:
        return f"Store({str(self.folder) if self.folder else 'in memory'!r})"

    # Opening

    @classmethod
    @contextmanager
    def writer(cls, folder: str | Path) -> Iterator[Self]:
        """The only writer of the store in this folder, which is made if need be; an older one is upgraded.

        Raises `StoreError` where another process is writing to it, or where nothing can be written.
        """
        folder = a_path("the store's folder", folder)
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
        refuse_another_s(folder / FILE)
        store = cls(folder, engine_for(folder / FILE, readonly=False))
        with in_sentences(folder):
            sign(folder)
        with store._writing() as connection:
            if is_old(connection):
                upgrade(connection, store._files)
        with store._writing() as connection:
            metadata.create_all(connection)
            if connection.execute(select(schema)).first() is None:
                connection.execute(insert(schema).values(version=SCHEMA_VERSION))
                count(connection)
        store._remove_left_over()
        with store.reading() as connection:
            warn_of_lost_runs(connection, folder)
        return store

    def _remove_left_over(self) -> None:
        """Files of our runs that a killed writer left before it could name them; of damaged runs none."""
        with self.reading() as connection:
            environments = texts_of_environments(connection)
            rows = [row for row in connection.execute(select(runs)) if is_intact(row, environments)]
        kept = {row.digest[:16]: _files_of(row) for row in rows}
        for name, start in list(self._files.of_runs()):
            if start in kept and name not in kept[start]:
                self._files.remove(name)

    @classmethod
    def reader(cls, folder: str | Path) -> Self:
        """Reads while another process may be writing, and changes nothing.

        Raises `StoreError` where there is no store.
        """
        file = a_path("the store's folder", folder) / FILE
        if not file.exists():
            raise StoreError(f"'{folder}' holds no store yet; `unvanish reproduce --store {folder}` makes one")
        return cls(file.parent, readable(file))

    @classmethod
    @contextmanager
    def in_memory(cls) -> Iterator[Self]:
        """A store that nobody else sees."""
        store = cls(None, engine_for(None, readonly=False))
        with store._writing() as connection:
            metadata.create_all(connection)
            count(connection)
        yield store
        store._engine.dispose()

    # Writing

    def begin(self, recipe: Recipe, header: Header, *, fresh: bool = False) -> Start:
        """Make sure that the run is there, and say where it stands. `fresh` forgets it.

        Raises `DamagedError` where it cannot go on from what the store kept.
        """
        return self._begin(recipe.digest(), header, fresh, recipe=recipe.model_dump(mode="json"))

    def begin_named(self, name: str, header: Header, *, fresh: bool = False) -> tuple[str, Start]:
        """The same for a run of a setup that has a name in place of a recipe; and the digest of the name."""
        digest = digest_of_name(name)
        return digest, self._begin(digest, header, fresh, name=name)

    def _begin(self, digest: str, header: Header, fresh: bool, **what: Any) -> Start:
        with self._writing() as connection:
            row = _run(connection, digest)
            if row is not None and not fresh:
                start = self._standing(connection, row, header)
                if start is not None:
                    return start
            for table in (runs, curve, series):  # of a run whose row is lost the others may be there
                connection.execute(delete(table).where(table.c.digest == digest))
            connection.execute(
                insert(runs).values(
                    digest=digest,
                    environment=environment_id(connection, header.environment),
                    layers=list(header.layers),
                    units={},
                    state="unfinished",
                    begun=time.time(),
                    history=digest,
                    **what,
                )
            )
            seal_run(connection, digest, None)
            if fresh or row is not None:
                count(connection)  # of all anew: what was there may have been damaged
        if row is not None:
            self._files.remove_of(digest)
        return Start(ended=False, environment=header.environment)

    def _standing(self, connection: Connection, row: Row, header: Header) -> Start | None:
        """Where a run that is there goes on; `None` if it has come nowhere yet."""
        with naming_the_run(row.digest, self.folder):
            begun_under = json.loads(intact(row, texts_of_environments(connection)))
            intact_history(row, *rows_of(connection, row.digest))
            if row.state in ENDED:
                if list(row.layers) != list(header.layers):
                    raise StoreError(
                        f"{self.folder} keeps a run {row.name!r} of a network of other layers "
                        f"({', '.join(row.layers)}): give another name, or fresh=True to train it anew"
                    )
                return Start(ended=True, environment=begun_under)
            if row.checkpoint_epoch is None:
                return None
            checkpoint = self._files.read(_checkpoint_of(row), row.checkpoint_sha256)
        facts = going_on(begun_under, header.environment)
        if facts != begun_under:
            changed = {"environment": environment_id(connection, facts)}
            connection.execute(update(runs).where(runs.c.digest == row.digest).values(changed))
            seal_run(connection, row.digest, row.checksum)
        return Start(False, facts, checkpoint, epochs=row.epochs)

    def add(self, digest: str, chunk: Chunk) -> None:
        """Keep a chunk. When this returns, it is on disk: all of it, its checkpoint included."""
        changed: dict[str, Any] = {"state": chunk.state, "error": chunk.error}
        kept = None
        with in_sentences(self.folder):
            if chunk.checkpoint is not None:
                last = chunk.rows[-1]
                kept = checkpoint_name(digest, last.stage, last.epoch)
                self._files.write(kept, chunk.checkpoint)
            if chunk.weights is not None:
                self._files.write(weights_name(digest), chunk.weights)
        with self._writing() as connection:
            before = _run(connection, digest)
            assert before is not None, f"run {digest[:12]} was never begun"
            with naming_the_run(digest, self.folder):
                intact(before, texts_of_environments(connection))
            rows = [{"digest": digest, **asdict(row)} for row in chunk.rows]
            measured = [{"digest": digest, **row} for row in rows_of_table(chunk.measured, before.layers)]
            if rows:
                connection.execute(insert(curve), rows)
                changed |= summary_of(epochs_of(rows_of(connection, digest)[0]), chunk.state)
            if measured:
                connection.execute(insert(series), measured)
                changed["units"] = dict(chunk.measured.units)
            changed["history"] = checksums.carried_on(before.history, rows, measured)
            if chunk.state != "failed":  # a failed run keeps its checkpoint, to go on from
                last = chunk.rows[-1] if chunk.checkpoint is not None else None
                changed |= {
                    "checkpoint_stage": last and last.stage,
                    "checkpoint_epoch": last and last.epoch,
                    "checkpoint_sha256": chunk.checkpoint and checksums.of_bytes(chunk.checkpoint),
                    "weights": chunk.weights is not None,
                    "weights_sha256": chunk.weights and checksums.of_bytes(chunk.weights),
                }
            connection.execute(update(runs).where(runs.c.digest == digest).values(**changed))
            seal_run(connection, digest, before.checksum)
        if chunk.state != "failed" and before.checkpoint_epoch is not None and _checkpoint_of(before) != kept:
            self._files.remove(_checkpoint_of(before))

    def forget_lost_runs(self) -> None:
        """Go on with the runs that are there, where the list of runs is damaged; damaged events are forgotten."""
        try:
            self.events()
        except DamagedError:
            with self._writing() as connection:
                connection.execute(delete(events))
        with self._writing() as connection:
            environments = texts_of_environments(connection)
            for row in connection.execute(select(runs)).all():
                if not is_intact(row, environments) and not is_its_digest(row):  # nobody can ask for it
                    connection.execute(delete(runs).where(runs.c.digest == row.digest))
            count(connection)

    def note(self, happened: Sequence[Event]) -> None:
        """Append to what has happened."""
        rows = [{"at": time.time(), "kind": e.kind, "digest": e.digest, "data": dict(e.data)} for e in happened]
        rows = [row | {"checksum": checksums.of_event(row)} for row in rows]
        if rows:
            with self._writing() as connection:
                connection.execute(insert(events), rows)
                connection.execute(update(totals).values(events=totals.c.events + len(rows)))

    # Reading

    def summaries(self) -> list[Summary]:
        """Every run, in the order in which they were begun; of one whose row is damaged, that it is.

        Warns where fewer or other runs are there than were kept.
        """
        with self.reading() as connection:
            return summaries(connection, self.folder)

    def record(self, digest: str, *, weights: bool = True) -> Record:
        """One run in full. Raises `StoreError` where it is not in the store, `DamagedError` where it is damaged."""
        a_text("a digest", digest)
        with self.reading() as connection:
            row = _run(connection, digest)
            if row is None:
                raise StoreError(f"run {digest[:12]} is not in {self.folder}")
            environments = texts_of_environments(connection)
            of_curve, of_series = rows_of(connection, digest)
        with naming_the_run(digest, self.folder):
            environment = intact(row, environments)
            intact_history(row, of_curve, of_series)
            read = self._files.read(weights_name(digest), row.weights_sha256) if weights and row.weights else None
            return Record(
                recipe=recipe_of(row),
                name=row.name or row.digest,
                environment=json.loads(environment),
                epochs=tuple(epochs_of(of_curve)),
                table=table_of(of_series, row),
                outcome=outcome_of(row),
                weights=None if read is None else unpack(read)[1],
            )

    def events(self, after: int = 0) -> list[Event]:
        """What has happened since the event of that number: call it again and again to follow a study that runs."""
        not_negative("after", after)
        with self.reading() as connection:
            kept = connection.execute(select(totals.c.events)).scalar()
            rows = connection.execute(select(events).where(events.c.id > after).order_by(events.c.id)).all()
        intact_events(rows, after, kept, self.folder)
        return [Event(row.kind, row.digest, row.data, row.id, row.at) for row in rows]

    def checkpoint(self, digest: str) -> bytes | None:
        """From which a run goes on, if it has one. Raises `DamagedError` where that cannot be used."""
        with self.reading() as connection:
            row, environments = _run(connection, digest), texts_of_environments(connection)
        with naming_the_run(digest, self.folder):
            if row is None:
                raise StoreError(f"run {digest[:12]} is not in {self.folder}")
            intact(row, environments)
            if row.checkpoint_epoch is None:
                return None
            return self._files.read(_checkpoint_of(row), row.checkpoint_sha256)

    # Connections

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction of the writer: committed, and on disk, when the block ends."""
        with in_sentences(self.folder), self._engine.connect() as connection:
            yield connection
            commit(connection, self.folder)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with in_sentences(self.folder), self._engine.connect() as connection:
            yield connection


def _run(connection: Connection, digest: str) -> Row | None:
    return connection.execute(select(runs).where(runs.c.digest == digest)).first()


def _files_of(row: Row) -> list[str]:
    checkpoint = [_checkpoint_of(row)] if row.checkpoint_epoch is not None else []
    return [*checkpoint, weights_name(row.digest)] if row.weights else checkpoint


def _checkpoint_of(row: Row) -> str:
    """The name follows from the run; none that is written anywhere is believed."""
    return checkpoint_name(row.digest, row.checkpoint_stage, row.checkpoint_epoch)
