"""A run on its way through the scheduler, and the message that gives some of them to a worker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from unvanish.core.recipe import Recipe
from unvanish.core.serialisation import pack
from unvanish.store.protocol import Header, Start


class Wanted(NamedTuple):
    """A run to be trained: to its end, or until it has so many epochs in all."""

    recipe: Recipe
    epochs: int | None = None


StageEpoch = tuple[int, int]
BEGINNING: StageEpoch = (-1, -1)
TRIES = 3  # deaths of a worker over one recipe at the same place
MOST_DEATHS = 10  # at any places, without getting further

More = Callable[[str], Sequence[Wanted]]  # what is wanted now that this run has ended, or come as far as it was wanted


@dataclass
class Queued:
    """A recipe on its way."""

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
    at: StageEpoch = BEGINNING  # the last epoch that its present worker has told
    furthest: StageEpoch = BEGINNING
    deaths: list[StageEpoch] = field(default_factory=list)  # where workers died over it since it last got on

    def reached(self, epoch: StageEpoch) -> None:
        self.at = epoch
        if epoch > self.furthest:
            self.furthest = epoch
            self.deaths.clear()

    def died(self) -> bool:
        """Its worker has died: whether that is to be tried no more.

        What a recipe does to a worker, it does at the same place each time: three in a row. Workers that are killed at
        different places say nothing about it, until they are very many.
        """
        self.deaths.append(self.at)
        self.at = BEGINNING
        last = self.deaths[-TRIES:]
        return len(self.deaths) >= MOST_DEATHS or (len(last) == TRIES and len(set(last)) == 1)

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
    runs: list[Queued],
    starts: list[Start],
    device: torch.device,
    epochs: int | None,
    data_file: str | None,
    *,
    keep_weights: bool = True,
) -> bytes:
    """To train the runs together to their end, or for so many epochs."""
    meta = {
        "data": runs[0].recipe.data,
        "data_file": data_file,
        "recipes": [run.recipe.model_dump(mode="json") for run in runs],
        "device": str(device),
        "measure_every": starts[0].environment["measure_every"],
        "epochs": epochs,
        "keep_weights": keep_weights,
    }
    tensors = {
        str(index): torch.frombuffer(bytearray(start.checkpoint), dtype=torch.uint8)
        for index, start in enumerate(starts)
        if start.checkpoint
    }
    return pack(meta, tensors)
