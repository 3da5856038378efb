"""The store in memory, which nobody else sees."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from unvanish.store.backends import sqlite
from unvanish.store.backends.protocol import OneWriter, Session
from unvanish.store.backends.row_files import FilesInRows
from unvanish.store.backends.sentences import in_sentences
from unvanish.store.migrations.bring import bring_up_to_date


class Memory:
    """The `Backend` of a process's own."""

    place = "memory"
    claims = OneWriter()

    def __init__(self) -> None:
        self.engine = sqlite.engine_for(None, readonly=False)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with in_sentences(self.place), self.engine.connect() as connection:
            yield Session(connection, FilesInRows(connection))

    @contextmanager
    def writing(self) -> Iterator[Session]:
        with self.reading() as session:
            yield session
            session.connection.commit()

    def faults(self, connection: Connection) -> Iterator[str]:
        return sqlite.faults(connection)


@contextmanager
def in_memory() -> Iterator[Memory]:
    backend = Memory()
    with backend.writing() as session:
        bring_up_to_date(session, None)
    try:
        yield backend
    finally:
        backend.engine.dispose()
