"""How a reader comes to a store: without creating, locking or changing a file, whatever state a writer left it in."""

import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

from unvanish.core.errors import StoreError
from unvanish.store.backends.folder_files import FilesInFolder
from unvanish.store.backends.protocol import Session
from unvanish.store.backends.sentences import in_sentences
from unvanish.store.backends.sqlite import as_text, engine_for
from unvanish.store.migrations.bring import bring_up_to_date, version_of
from unvanish.store.tables import SCHEMA_VERSION

WAL = 2  # at bytes 18 and 19 of SQLite's file format: its readers make files beside it
BESIDE = ("-journal", "-wal")


def refuse_another_s(file: Path) -> None:
    """Raise `StoreError` where the file is no store of this version or an earlier one, before it is opened to write."""
    if not file.exists() or not file.stat().st_size:
        return
    with in_sentences(str(file.parent)), copied_where_need_be(file).connect() as connection:
        version_of(connection, str(file.parent))


def readable(file: Path) -> Engine:
    """Over the file, where it is of this version and was left whole; else over a copy in memory, put in order there."""
    with in_sentences(str(file.parent)):
        engine = copied_where_need_be(file)
        with engine.connect() as connection:
            version = version_of(connection, str(file.parent))
        if version is None:
            raise StoreError(f"{file.parent} is not an intact store (it has no runs); the next training makes it one")
        return engine if version == SCHEMA_VERSION else _upgraded(_in_memory(file), file.parent, version)


def copied_where_need_be(file: Path) -> Engine:
    """Over the file; over a copy in memory where a killed writer's transaction is to be rolled back, or in WAL mode."""
    if not file.is_file():
        raise StoreError(f"'{file}' is not a file, so '{file.parent}' holds no store; name another folder with --store")
    with file.open("rb") as opened:
        in_wal = WAL in opened.read(20)[18:20]
    if in_wal:
        return _in_memory(file)
    engine = engine_for(file, readonly=True)
    try:
        with engine.connect() as connection:
            connection.execute(text("select count(*) from sqlite_master"))
    except OperationalError as error:
        if "readonly" not in str(error.orig) or not file.with_name(f"{file.name}-journal").exists():
            raise
        return _in_memory(file)
    return engine


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


def _upgraded(engine: Engine, folder: Path, version: int) -> Engine:
    with engine.connect() as connection:
        bring_up_to_date(Session(connection, FilesInFolder(folder)), version)
        connection.commit()
    return engine
