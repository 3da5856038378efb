"""The store in a folder: a SQLite file, with weights and checkpoints as safetensors beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, select, text

from unvanish.core.errors import StoreError
from unvanish.store.backends import sqlite
from unvanish.store.backends.folder_files import FilesInFolder, refuse_foreign
from unvanish.store.backends.lock import LOCK, OWNER, locked, sign
from unvanish.store.backends.opening import readable, refuse_another_s
from unvanish.store.backends.protocol import OneWriter, Session
from unvanish.store.backends.sentences import in_sentences
from unvanish.store.conditions import environment_text
from unvanish.store.files import SHORT
from unvanish.store.intact import is_intact
from unvanish.store.migrations.bring import bring_up_to_date, version_of
from unvanish.store.rows import files_of, run_row
from unvanish.store.tables import runs

FILE = "unvanish.sqlite"


class Folder:
    """The `Backend` of the process that writes to a folder, or of one that reads it."""

    claims = OneWriter()

    def __init__(self, folder: Path, engine: Engine, *, readonly: bool) -> None:
        self.folder, self.place, self.engine, self.readonly = folder, str(folder), engine, readonly

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with in_sentences(self.place), self.engine.connect() as connection:
            connection.execute(text("begin"))  # else a writer may commit between two of the reader's questions
            yield Session(connection, FilesInFolder(self.folder))

    @contextmanager
    def writing(self) -> Iterator[Session]:
        if self.readonly:
            raise StoreError(f"{self.place} was opened to read; open it with Store.writer to write")
        files = FilesInFolder(self.folder)
        with in_sentences(self.place), self.engine.connect() as connection:
            yield Session(connection, files)
            sqlite.commit(connection, self.place)
            files.settle()

    def faults(self, connection: Connection) -> Iterator[str]:
        return sqlite.faults(connection)


@contextmanager
def folder_to_write(folder: Path) -> Iterator[Folder]:
    """Behind the lock of its only writer, with its tables, without what a killed writer left over."""
    with in_sentences(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        refuse_foreign(folder, (FILE,), (LOCK, OWNER))
        lock = locked(folder)
    try:
        refuse_another_s(folder / FILE)
        backend = Folder(folder, sqlite.engine_for(folder / FILE, readonly=False), readonly=False)
        with in_sentences(str(folder)):
            sign(folder)
        with backend.writing() as session:
            session.connection.execute(text("begin immediate"))  # else SQLite commits a change of the schema at once
            bring_up_to_date(session, version_of(session.connection, backend.place))
        _remove_left_over(backend)
        yield backend
    finally:
        lock.release()


def folder_to_read(folder: Path) -> Folder:
    """Raises `StoreError` where there is no store."""
    if not (folder / FILE).exists():
        raise StoreError(f"'{folder}' holds no store yet; a training with --store {folder} makes one")
    return Folder(folder, readable(folder / FILE), readonly=True)


def _remove_left_over(backend: Folder) -> None:
    """Files of our runs that a killed writer left before it could name them; of damaged runs none."""
    found: dict[str, set[str]] = {}
    for name in FilesInFolder(backend.folder).names():
        found.setdefault(Path(name).name[:SHORT], set()).add(name)
    if not found:
        return
    with backend.writing() as session:
        connection = session.connection
        named = (runs.c.digest, runs.c.checkpoint_stage, runs.c.checkpoint_epoch, runs.c.weights)
        for row in connection.execute(select(*named)).all():
            try:
                unnamed = found.get(str(row.digest)[:SHORT], set()) - files_of(row)
            except StoreError:
                continue
            whole = run_row(connection, row.digest) if unnamed else None
            if whole is not None and is_intact(whole, environment_text(connection, whole.environment)):
                for name in unnamed:
                    session.files.remove(name)
