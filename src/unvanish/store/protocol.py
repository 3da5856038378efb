"""What a store of runs offers, whatever keeps them: what the scheduler writes and what reports read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from unvanish.core.curve import Outcome
from unvanish.core.recipe import Recipe
from unvanish.store.chunk import Chunk
from unvanish.store.events import Event
from unvanish.store.record import Record

ENDED = ("finished", "diverged")
DAMAGED = "damaged"  # of a run in a list: it cannot be read


@dataclass(frozen=True)
class Header:
    """What a run is stored under besides its recipe: where it ran, and the layers that are measured."""

    environment: dict[str, Any] = field(hash=False)
    layers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Start:
    """Where a run stands when it is begun: ended already, or to go on from a checkpoint, or from nothing.

    `environment` is what it was begun under, which is what it goes on under. `elsewhere` is the other writer that
    trains it, if one does: then it cannot be added to.
    """

    ended: bool
    environment: dict[str, Any]
    checkpoint: bytes | None = None
    epochs: int = 0
    elsewhere: str | None = None


@dataclass(frozen=True)
class Summary:
    """One run in a list. `name` is that of a setup of one's own, which has no recipe."""

    digest: str
    recipe: Recipe | None
    name: str | None
    outcome: Outcome
    begun: float


class RunStore(Protocol):
    """Any number of processes read; one writes, or several that claim their runs. Raises `StoreError`, a sentence."""

    def begin(self, recipe: Recipe, header: Header, *, fresh: bool = False, claim: bool = True) -> Start:
        """Make sure that the run is there, and say where it stands. `fresh` forgets it.

        claim   it will be trained by this writer, and by no other until it has ended

        Raises `DamagedError` where what is kept of it is not what was written.
        """
        ...

    def begin_named(self, name: str, header: Header, *, fresh: bool = False) -> tuple[str, Start]:
        """The same for a run of a setup that has a name in place of a recipe; and the digest of the name."""
        ...

    def add(self, digest: str, chunk: Chunk) -> None:
        """Keep a chunk. When this returns, it is on disk: all of it, its checkpoint included.

        Raises `ClaimLostError` where another writer has taken the run over.
        """
        ...

    def forget_lost_runs(self) -> None:
        """Go on with the runs that are there, where the list of runs is damaged; damaged events are forgotten."""
        ...

    def note(self, happened: Sequence[Event]) -> None:
        """Append to what has happened."""
        ...

    def summaries(self) -> list[Summary]:
        """Every run, in the order in which they were begun."""
        ...

    def record(self, digest: str, *, weights: bool = True) -> Record:
        """One run in full."""
        ...

    def events(self, after: int = 0) -> list[Event]:
        """What has happened since the event of that number: call it again and again to follow a study that runs."""
        ...
