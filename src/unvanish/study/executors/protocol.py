"""Where trainings run, as the scheduler sees it: places that take jobs and send messages back."""

from collections.abc import Iterator
from typing import Any, Protocol, Self


class Place(Protocol):
    """Takes one job at a time. Hashable."""

    def give(self, job: bytes) -> None: ...

    def finish_soon(self) -> None:
        """No more jobs: it ends after the present epoch."""
        ...

    def dismiss(self) -> None:
        """End at once: it has no job."""
        ...


class Executor(Protocol):
    """Used as a context; at its end no place is left."""

    places: int
    workers: list[Any]
    here: bool  # trainings run on this machine; elsewhere, the first message of a job says under what it is trained

    def provide(self, data: str) -> str | None:
        """Bring a data set, by its name, to every place; gives the file to read it from, `None` where none is needed.

        Raises `DataError` where the data set cannot be had.
        """
        ...

    def spawn(self) -> Any:
        """One more place, for one that is gone."""
        ...

    def reap(self, worker: Any) -> str:
        """Let go of a place that has ended, and say how it ended."""
        ...

    def ready(self, timeout: float | None) -> list[Any]:
        """Wait until some have sent something or have ended, or for so many seconds."""
        ...

    def messages(self, ready: list[Any]) -> Iterator[tuple[Any, bytes | None]]:
        """What these have sent, each one message; `None` where it has ended."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
