"""What happens in a study, as an append-only stream: told to a listener, and followed in a store by others."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from unvanish.core.curve import Epoch

Kind = Literal["known", "began", "epoch", "ended", "died", "stopping"]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    kind     known     the run has ended before; it is not trained again
             began     it is being trained, after `epochs` that were kept from before
             epoch     an epoch of it is over: the fields of `Epoch`
             ended     with `state` "finished", "diverged" or "failed" and, if it failed, its `error`
             died      its worker died, for a `reason`; it will go on from its last checkpoint, so epochs may come again
             stopping  Ctrl-C: each worker finishes its epoch
    digest   the run's; of `stopping`, empty
    id, at   its number in the store, from 1, and the time in seconds since 1970; 0 before it is kept
    """

    kind: Kind
    digest: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)
    id: int = 0
    at: float = 0.0

    @classmethod
    def epoch(cls, digest: str, row: Epoch) -> "Event":
        return cls("epoch", digest, asdict(row))

    @property
    def row(self) -> Epoch:
        """The epoch that is over."""
        return Epoch(**self.data)
