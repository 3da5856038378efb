"""The store of runs: in a folder, in memory, or on a PostgreSQL server. What differs is behind its `Backend`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any, Self

from unvanish.core.arguments import a_path, a_text, not_negative
from unvanish.core.errors import DamagedError
from unvanish.core.recipe import Recipe
from unvanish.store import lookup
from unvanish.store.backends.folder import folder_to_read, folder_to_write
from unvanish.store.backends.memory import in_memory
from unvanish.store.backends.protocol import Backend
from unvanish.store.chunk import Chunk
from unvanish.store.events import Event
from unvanish.store.listing import summaries, warn_of_lost_runs
from unvanish.store.place import is_url
from unvanish.store.protocol import Header, Start, Summary
from unvanish.store.reading import digest_of_name
from unvanish.store.record import Record
from unvanish.store.writing import Writing


class Store:
    """A `RunStore`. Use `writer(where)`, `reader(where)` or `in_memory()`.

    `where` is a folder, or the URL of a database of PostgreSQL: `postgresql+psycopg://user:password@host/database`.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __str__(self) -> str:
        return self.backend.place

    def __repr__(self) -> str:
        return f"Store({self.backend.place!r})"

    # Opening

    @classmethod
    @contextmanager
    def writer(cls, where: str | PathLike[str]) -> Iterator[Self]:
        """A writer of the store at this place, which is made if need be; an older one is upgraded.

        To a folder the only one; to a database one of several, which claim the runs that they train.
        Raises `StoreError` where another process is writing to the folder, or where nothing can be written.
        """
        if is_url(where):
            from unvanish.store.backends.postgres import database_to_write

            opened = database_to_write(where)
        else:
            opened = folder_to_write(a_path("the store's folder", where))
        with opened as backend:
            with backend.reading() as session:
                warn_of_lost_runs(session.connection, backend.place)
            yield cls(backend)

    @classmethod
    def reader(cls, where: str | PathLike[str]) -> Self:
        """Reads while others may be writing, and changes nothing.

        Raises `StoreError` where there is no store.
        """
        if is_url(where):
            from unvanish.store.backends.postgres import database_to_read

            return cls(database_to_read(where))
        return cls(folder_to_read(a_path("the store's folder", where)))

    @classmethod
    @contextmanager
    def in_memory(cls) -> Iterator[Self]:
        """A store that nobody else sees."""
        with in_memory() as backend:
            yield cls(backend)

    # Writing

    def begin(self, recipe: Recipe, header: Header, *, fresh: bool = False, claim: bool = True) -> Start:
        """Make sure that the run is there, and say where it stands. `fresh` forgets it.

        claim   it will be trained by this writer, and by no other until it has ended

        Raises `DamagedError` where it cannot go on from what the store kept.
        """
        return self._begin(recipe.digest(), header, fresh, claim, recipe=recipe.model_dump(mode="json"))

    def begin_named(self, name: str, header: Header, *, fresh: bool = False) -> tuple[str, Start]:
        """The same for a run of a setup that has a name in place of a recipe; and the digest of the name."""
        digest = digest_of_name(name)
        return digest, self._begin(digest, header, fresh, True, name=name)

    def _begin(self, digest: str, header: Header, fresh: bool, claim: bool, **what: Any) -> Start:
        with self._writing() as writing:
            return writing.begin(digest, header, fresh=fresh, claim=claim, **what)

    def add(self, digest: str, chunk: Chunk) -> None:
        """Keep a chunk. When this returns, it is on disk: all of it, its checkpoint included.

        Raises `ClaimLostError` where another writer has taken the run over.
        """
        with self._writing() as writing:
            writing.add(digest, chunk)

    def forget_lost_runs(self) -> None:
        """Go on with the runs that are there, where the list of runs is damaged; damaged events are forgotten."""
        try:
            self.events()
            and_events = False
        except DamagedError:
            and_events = True
        with self._writing() as writing:
            writing.forget_lost_runs(and_events=and_events)

    def note(self, happened: Sequence[Event]) -> None:
        """Append to what has happened."""
        with self._writing() as writing:
            writing.note(happened)

    @contextmanager
    def _writing(self) -> Iterator[Writing]:
        with self.backend.writing() as session:
            yield Writing(session, self.backend.claims, self.backend.place)

    # Reading

    def summaries(self) -> list[Summary]:
        """Every run, in the order in which they were begun; of one whose row is damaged, that it is.

        Warns where fewer or other runs are there than were kept.
        """
        with self.backend.reading() as session:
            return summaries(session.connection, self.backend.place)

    def record(self, digest: str, *, weights: bool = True) -> Record:
        """One run in full. Raises `StoreError` where it is not in the store, `DamagedError` where it is damaged."""
        a_text("a digest", digest)
        with self.backend.reading() as session:
            return lookup.record(session, self.backend.place, digest, weights=weights)

    def events(self, after: int = 0) -> list[Event]:
        """What has happened since the event of that number: call it again and again to follow a study that runs."""
        not_negative("after", after)
        with self.backend.reading() as session:
            return lookup.events_after(session, self.backend.place, after)

    def checkpoint(self, digest: str) -> bytes | None:
        """From which a run goes on, if it has one. Raises `DamagedError` where that cannot be used."""
        with self.backend.reading() as session:
            return lookup.checkpoint(session, self.backend.place, digest)
