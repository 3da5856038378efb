"""How a reader comes to a store: without creating, locking or changing a file, whatever state a writer left it in."""

import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine, create_engine, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from unvanish.core.errors import StoreError
from unvanish.store.files import Files
from unvanish.store.sentences import in_sentences
from unvanish.store.tables import as_text, engine_for, schema
from unvanish.store.upgrade import is_old, upgrade

WAL = 2  # at bytes 18 and 19 of SQLite's file format: its readers make files beside it
BESIDE = ("-journal", "-wal")


def readable(file: Path) -> Engine:
    """Over the file, where it is of this version and was left whole; else over a copy in memory, mended there."""
    with in_sentences(file.parent):
        if not file.is_file():
            raise StoreError(
                f"'{file}' is not a file, so '{file.parent}' holds no store; name another folder with --store"
            )
        with file.open("rb") as opened:
            in_wal = WAL in opened.read(20)[18:20]
        if not in_wal:
            engine = engine_for(file, readonly=True)
            try:
                with engine.connect() as connection:
                    connection.execute(select(schema.c.version))
                    old = is_old(connection)
            except DatabaseError:  # a killed writer's transaction would have to be rolled back; or it is no store
                if not file.with_name(f"{file.name}-journal").exists():
                    raise
                old = True
            if not old:
                return engine
        return _upgraded(_in_memory(file), Files(file.parent))


def _in_memory(file: Path) -> Engine:
    """A copy, in which SQLite may roll back what was left half done."""
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    memory.text_factory = as_text
    with TemporaryDirectory() as place:
        for end in ("", *BESIDE):
            beside = file.with_name(f"{file.name}{end}")
            if beside.is_file():
                shutil.copyfile(beside, Path(place) / beside.name)
        copy = sqlite3.connect(Path(place) / file.name)
        copy.backup(memory)
        copy.close()
    return create_engine("sqlite://", creator=lambda: memory, poolclass=StaticPool)


def _upgraded(engine: Engine, files: Files) -> Engine:
    with engine.connect() as connection:
        if is_old(connection):
            upgrade(connection, files)
            connection.commit()
    return engine
