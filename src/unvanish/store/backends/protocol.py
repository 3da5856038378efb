"""What differs between the places that keep a store: connections, transactions, files, and who may write."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from unvanish.store.files import Files


@dataclass(frozen=True)
class Session:
    """A transaction. What is done to its files is kept when it is committed, and only then."""

    connection: Connection
    files: Files


class Claims(Protocol):
    """Which writer trains which run, where there are several. Within the transaction that is given."""

    def take(self, connection: Connection, digest: str) -> str | None:
        """Claim the run; where another writer has it, that writer."""
        ...

    def hold(self, connection: Connection, digest: str) -> None:
        """Make sure that the run is still ours until the transaction ends. Raises `ClaimLostError` where it is not."""
        ...

    def release(self, connection: Connection, digest: str) -> None: ...


class OneWriter:
    """The `Claims` of a place that has a single writer: every run is its own."""

    def take(self, connection: Connection, digest: str) -> str | None:
        return None

    def hold(self, connection: Connection, digest: str) -> None:
        pass

    def release(self, connection: Connection, digest: str) -> None:
        pass


class Backend(Protocol):
    """One place that keeps a store."""

    @property
    def place(self) -> str:
        """Its name in sentences: a folder, or a URL without its password."""
        ...

    @property
    def claims(self) -> Claims: ...

    def reading(self) -> AbstractContextManager[Session]:
        """What one reader sees. Raises `StoreError`, a sentence, where it fails."""
        ...

    def writing(self) -> AbstractContextManager[Session]:
        """A writer's transaction: committed, and on disk, when the block ends."""
        ...

    def faults(self, connection: Connection) -> Iterator[str]:
        """What the database itself finds wrong with its files."""
        ...
