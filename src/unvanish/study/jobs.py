"""A run on its way through the scheduler, and the message that gives some of them to a worker."""

from dataclasses import dataclass

import torch

from unvanish.core.recipe import Recipe
from unvanish.core.serialisation import pack
from unvanish.store.protocol import Header, Start


@dataclass
class Queued:
    """A recipe on its way. `deaths` counts the workers that it cost since it last got on."""

    recipe: Recipe
    digest: str
    about: Header
    shape: str | None  # of its ensemble, if it may be in one
    epochs: int  # in all its stages
    done: int = 0  # of these, kept
    fresh: bool = False  # what the store has of it is forgotten when it is begun, not before
    begun: bool = False
    ended: bool = False
    lost: bool = False  # to another machine, while a worker of this one is still at it
    deaths: int = 0

    @property
    def epochs_left(self) -> int:
        return self.epochs - self.done


def job_of(runs: list[Queued], starts: list[Start], device: torch.device, epochs: int | None) -> bytes:
    """To train the runs together to their end, or for so many epochs."""
    meta = {
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
