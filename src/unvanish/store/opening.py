"""How a reader comes to a store: without creating, locking or changing a file, whatever state a writer left it in."""

import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, Engine, create_engine, inspect, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

from unvanish.core.errors import StoreError
from unvanish.store.files import Files
from unvanish.store.sentences import in_sentences
from unvanish.store.tables import SCHEMA_VERSION, as_text, engine_for, metadata, schema
from unvanish.store.upgrade import is_old, upgrade

WAL = 2  # at bytes 18 and 19 of SQLite's file format: its readers make files beside it
BESIDE = ("-journal", "-wal")


def refuse_another_s(file: Path) -> None:
    """Raise `StoreError` where the file is no store of this version or an earlier one, before it is opened to write."""
    if not file.exists() or not file.stat().st_size:
        return
    with in_sentences(file.parent), copied_where_need_be(file).connect() as connection:
        _check_version(connection, file.parent)


def _check_version(connection: Connection, folder: Path) -> int | None:
    """The version; `None` of a store that was killed before it had one."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    found = connection.execute(select(schema.c.version)).scalar() if "schema" in tables else None
    if found is None and set(tables) <= set(metadata.tables):  # killed before its first row
        return None
    if not isinstance(found, int):
        raise StoreError(f"{folder / 'unvanish.sqlite'} is not a store of unvanish; name another folder")
    if found > SCHEMA_VERSION:
        raise StoreError(
            f"{folder} has schema version {found}, this unvanish has {SCHEMA_VERSION}; name another folder with --store"
        )
    return found


def readable(file: Path) -> Engine:
    """Over the file, where it is of this version and was left whole; else over a copy in memory, put in order there."""
    with in_sentences(file.parent):
        engine = copied_where_need_be(file)
        with engine.connect() as connection:
            if _check_version(connection, file.parent) is None:
                raise StoreError(
                    f"{file.parent} is not an intact store (it has no runs); the next training makes it one"
                )
            if not is_old(connection):
                return engine
        return _upgraded(_in_memory(file), Files(file.parent))


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


def _upgraded(engine: Engine, files: Files) -> Engine:
    with engine.connect() as connection:
        upgrade(connection, files)
        connection.commit()
    return engine
