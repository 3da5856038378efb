"""A run on its way through the scheduler, and the message that gives some of them to a worker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from unvanish.core.recipe import Recipe
from unvanish.core.serialisation import pack
from unvanish.store.protocol import Header, Start


class Wanted(NamedTuple):
    """A run to be trained: to its end, or until it has so many epochs in all."""

    recipe: Recipe
    epochs: int | None = None


More = Callable[[str], Sequence[Wanted]]  # what is wanted now that this run has ended, or come as far as it was wanted


@dataclass
class Queued:
    """A recipe on its way. `deaths` counts the workers that it cost since it last got on.

    It gets on with each epoch that it never reached before: what a recipe does to a worker, it does at the same place
    each time; three workers that are killed before the first checkpoint, at any others, say nothing about it.
    """

    recipe: Recipe
    digest: str
    about: Header
    shape: str | None  # of its ensemble, if it may be in one
    epochs: int  # in all its stages
    size: int  # numbers that it trains: what an epoch costs, roughly
    done: int = 0  # of these, kept
    until: int | None = None  # epochs in all, after which it waits to be wanted again
    fresh: bool = False  # what the store has of it is forgotten when it is begun, not before
    begun: bool = False
    ended: bool = False
    lost: bool = False  # to another machine, while a worker of this one is still at it
    deaths: int = 0
    furthest: tuple[int, int] = (-1, -1)  # stage and epoch

    @property
    def epochs_left(self) -> int:
        return (self.until or self.epochs) - self.done

    @property
    def work(self) -> int:
        """What is left of it, to be compared with that of others."""
        return self.epochs_left * self.size

    @property
    def goes_on(self) -> bool:
        return not self.ended and (self.until is None or self.epochs_left > 0)

    @property
    def alike(self) -> tuple[Any, ...]:
        """The same of runs that can be trained as one ensemble."""
        return self.shape, self.epochs_left, self.until


def job_of(
    runs: list[Queued], starts: list[Start], device: torch.device, epochs: int | None, data_file: str | None
) -> bytes:
    """To train the runs together to their end, or for so many epochs."""
    meta = {
        "data": runs[0].recipe.data,
        "data_file": data_file,
        "recipes": [run.recipe.model_dump(mode="json") for run in runs],
        "device": str(device),
        "measure_every": starts[0].environment["measure_every"],
        "epochs": epochs,
    }
    tensors = {
        str(index): torch.frombuffer(bytearray(start.checkpoint), dtype=torch.uint8)
        for index, start in enumerate(starts)
        if start.checkpoint
    }
    return pack(meta, tensors)
