"""What a study tells about as it goes on."""

from dataclasses import dataclass

from unvanish.core.recipe import Recipe
from unvanish.core.record import Epoch


@dataclass(frozen=True)
class Known:
    """The recipe has ended before; it is not trained again."""

    recipe: Recipe


@dataclass(frozen=True)
class Began:
    """The recipe is being trained, after so many epochs that were kept from before."""

    recipe: Recipe
    epochs_done: int


@dataclass(frozen=True)
class Went:
    """An epoch of the recipe is over."""

    recipe: Recipe
    row: Epoch


@dataclass(frozen=True)
class Ended:
    """The recipe's training has ended: "finished", "diverged" or "failed" (with the error)."""

    recipe: Recipe
    state: str
    error: str | None = None


@dataclass(frozen=True)
class Died:
    """A worker process died; its recipe will go on from its last checkpoint."""

    recipe: Recipe
    reason: str


@dataclass(frozen=True)
class Stopping:
    """Ctrl-C was pressed: each worker finishes its epoch."""


Event = Stopping | Known | Began | Went | Ended | Died
