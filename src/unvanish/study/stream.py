"""The events of a study: to its listener at once, and to the store within a second."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from unvanish.store.events import Event
from unvanish.store.protocol import RunStore

NOTE_WITHIN_S = 1.0  # events reach the store within this time

Listener = Callable[[Event], None]


@dataclass
class Stream:
    store: RunStore
    listen: Listener

    def __post_init__(self) -> None:
        self.waiting: list[Event] = []
        self.flushed_at = time.monotonic()

    def tell(self, event: Event) -> None:
        self.listen(event)
        self.waiting.append(event)
        if event.kind != "epoch" or time.monotonic() - self.flushed_at > NOTE_WITHIN_S:
            self.flush()

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        self.store.note(waiting)
        self.flushed_at = time.monotonic()
