"""Which runs are trained together, as one ensemble."""

import sys
from collections.abc import Sequence

import torch

from unvanish.study.jobs import Queued

MOST_ON_GPU = 256  # runs of one shape: more gained nothing on an H100 (docs/performance.md)


def usual_most(device: torch.device) -> int:
    """Runs in an ensemble: on a CPU, each is trained alone."""
    return MOST_ON_GPU if device.type == "cuda" else 1


class Ensembles:
    """Of at most so many runs, and of no more numbers that are trained than the memory has been found to hold."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.most_numbers = sys.maxsize

    def of(self, run: Queued, waiting: Sequence[Queued]) -> list[Queued]:
        """The run, and the waiting ones that can be trained with it."""
        others = [other for other in waiting if other is not run and run.shape and other.alike == run.alike]
        return [run, *others][: min(self.most, max(1, self.most_numbers // run.size))]

    def take_apart(self, runs: Sequence[Queued], *, too_large: bool) -> None:
        """These could not be trained together: the memory was too small, or one of them is at fault."""
        if too_large:  # so would others of that size be
            self.most_numbers = min(self.most_numbers, sum(run.size for run in runs) // 2)
        else:
            for run in runs:
                run.shape = None
