"""The store in a database of PostgreSQL, which several machines write to."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError

from unvanish.core.errors import StoreError
from unvanish.store.backends import leases
from unvanish.store.backends.leases import Leases
from unvanish.store.backends.protocol import Session
from unvanish.store.backends.row_files import FilesInRows
from unvanish.store.migrations.bring import bring_up_to_date, version_of
from unvanish.store.tables import SCHEMA_VERSION

DRIVER = "postgresql+psycopg"
DEFAULTS = {
    "application_name": "unvanish",
    "client_encoding": "utf8",
    "connect_timeout": "10",  # seconds for a server that does not answer
    "tcp_user_timeout": "30000",  # ms, after which a connection that has broken off is given up
}
STUCK_S = 60  # a transaction whose client does nothing for so long is given up by the server, with its locks
OPENING = 0x756E76616E697368  # "unvanish": the number of the lock behind which a schema is made or changed


class Database:
    """The `Backend` of one of the processes that write to a database, or of one that reads it."""

    def __init__(self, url: str, *, readonly: bool) -> None:
        self.engine, self.readonly = engine_of(url), readonly
        self.place = repr(_parsed(url).set(query={}))  # without a password, which may also be in the query
        self.claims = Leases(self.engine, leases.LEASE_S)
        weakref.finalize(self, self.engine.dispose)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """All questions of a session are answered as of one moment."""
        with in_sentences(self.place), self.engine.connect() as connection:
            as_of_now = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield Session(as_of_now, FilesInRows(as_of_now))

    @contextmanager
    def writing(self) -> Iterator[Session]:
        if self.readonly:
            raise StoreError(f"{self.place} was opened to read; open it with Store.writer to write")
        with in_sentences(self.place), self.engine.begin() as connection:
            yield Session(connection, FilesInRows(connection))

    def faults(self, connection: Connection) -> Iterator[str]:
        """None: the server looks after its files, and reports a page that is damaged when that is read."""
        return iter(())


@contextmanager
def database_to_write(url: str) -> Iterator[Database]:
    """With its tables. Several processes may open a new one at once: the first makes it, the others wait."""
    backend = Database(url, readonly=False)
    try:
        with backend.reading() as session:
            version = version_of(session.connection, backend.place, beside_others=True)
        if version != SCHEMA_VERSION:
            with backend.writing() as session:
                session.connection.execute(text("select pg_advisory_xact_lock(:number)"), {"number": OPENING})
                version = version_of(session.connection, backend.place, beside_others=True)
                bring_up_to_date(session, version)
        with backend.claims.renewed():
            yield backend
    finally:
        backend.engine.dispose()


def database_to_read(url: str) -> Database:
    """Raises `StoreError` where there is no store, or one of an earlier version, which a reader cannot change."""
    backend = Database(url, readonly=True)
    with backend.reading() as session:
        version = version_of(session.connection, backend.place, beside_others=True)
    if version is None:
        raise StoreError(f"{backend.place} holds no store yet; a training with this --store makes one")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{backend.place} has schema version {version}, this unvanish has {SCHEMA_VERSION}: "
            "the next training upgrades it"
        )
    return backend


def _parsed(url: str) -> URL:
    try:
        return make_url(url).set(drivername=DRIVER)
    except (ArgumentError, ValueError):  # their messages repeat the password
        raise StoreError(
            "the store's URL cannot be read; it is to be like postgresql+psycopg://user:password@host:5432/database, "
            "with the special characters of a password as %-codes"
        ) from None


def engine_of(url: str) -> Engine:
    """Raises `StoreError` where the URL cannot be read, or the driver is missing."""
    parsed = _parsed(url)
    defaults = {name: value for name, value in DEFAULTS.items() if name not in parsed.query}
    try:
        # asked before each use, since the server may have been started anew
        engine = create_engine(parsed.update_query_dict(defaults), pool_pre_ping=True, hide_parameters=True)
    except ImportError:
        raise StoreError("a store in PostgreSQL needs its driver: pip install 'unvanish[postgres]'") from None

    @event.listens_for(engine, "connect")
    def prepare(connection, _record: object) -> None:
        connection.execute(f"set idle_in_transaction_session_timeout = '{STUCK_S}s'")
        connection.execute(f"set lock_timeout = '{STUCK_S}s'")
        connection.commit()

    return engine


@contextmanager
def in_sentences(place: str) -> Iterator[None]:
    """Raise `StoreError` in place of what the server or its driver raises."""
    try:
        yield
    except DBAPIError as error:
        raise StoreError(_sentence(place, error)) from error


# By the server's codes; libpq's errors of connecting have none, and are known by their words.
ADVICE: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        ("28",),
        ("password authentication failed", "no password supplied", "no pg_hba.conf entry", 'role "'),
        "refuses this user ({reason}); correct the user or the password in the URL",
    ),
    (
        ("3D",),
        ('database "',),
        "is not there ({reason}); make the database with createdb, or name another one in the URL",
    ),
    (
        ("42501",),
        (),
        "does not let this user do that ({reason}); its owner can: grant all on schema public to …",
    ),
    (
        ("53100",),
        (),
        "has no room left on its disk; make room and run the same command again: it goes on from there",
    ),
    (("42P01", "42703"), (), "is not an intact store ({reason}); name another database"),
    (("55P03", "25P03"), (), "kept this process waiting for another one for too long; run the same command again"),
    (
        ("08", "57P"),
        ("connection", "could not translate host name", "failed to resolve host", "timeout expired", "closed"),
        "cannot be reached ({reason}); start the server or correct the URL, and run the same command again: "
        "it goes on from what was kept",
    ),
)


def _sentence(place: str, error: DBAPIError) -> str:
    code, reason = str(getattr(error.orig, "sqlstate", None) or ""), " ".join(str(error.orig).split())
    for codes, words, advice in ADVICE:
        if code.startswith(codes) if code else any(word in reason for word in words):
            return f"{place} {advice.replace('{reason}', reason)}"
    return f"the store in {place} failed: {reason}"
