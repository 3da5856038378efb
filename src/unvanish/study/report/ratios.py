"""The backward signal of each hidden layer over that of the last one, along a training."""
# S steps, L hidden layers

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from unvanish.core.table import Array
from unvanish.store.record import Record
from unvanish.study.report.results import Group, hidden, recipe_of

MOST = 60  # columns of a map
FLOOR = -6.0  # what a map's colours reach down to, in powers of ten; and up to its negative


@dataclass(frozen=True)
class Ratios:
    """log10_SL   log₁₀ of the ratio; NaN where a layer is frozen or absent; −inf where nothing arrives
    frozen_SL  which layers are in the network and stand still
    epochs     of each row: 0 before the first step, then the epoch after which it was measured
    stages     of each row
    """

    log10_SL: Array
    frozen_SL: NDArray[np.bool_]
    epochs: tuple[int, ...]
    stages: tuple[int, ...]

    @classmethod
    def of_group(cls, group: Group) -> "Ratios":
        """The mean over the seeds, of the logarithms; a layer to which nothing arrives in one of them is left at −∞."""
        seeds = [cls.of(record) for record in group.records]
        rows = min(len(one.epochs) for one in seeds)
        first = min(seeds, key=lambda one: len(one.epochs))
        with np.errstate(invalid="ignore"):
            log10_SL = np.mean([one.log10_SL[:rows] for one in seeds], axis=0)
        return cls(log10_SL, first.frozen_SL, first.epochs, first.stages)

    @classmethod
    def of(cls, record: Record) -> "Ratios":
        """Of a run. Later trainings of several begin where the one before has ended, which is measured already."""
        signal, steps = hidden(record, "backward_rms"), record.table.steps
        stages = recipe_of(record).uninitialised().stages
        kept, epochs, own, frozen, done = [], [], [], [], {0: 0}
        for index, (stage, epoch) in enumerate(steps[: len(signal)]):
            done[stage] = done.get(stage - 1, 0) + epoch
            if epoch or not kept:
                kept.append(index)
                epochs.append(done[stage])
                own.append(stage)
                frozen.append(stages[stage - 1].frozen)
        chosen = signal[kept] if kept else np.empty((0, signal.shape[1]))
        with np.errstate(divide="ignore", invalid="ignore"):
            log10 = np.log10(chosen / np.array([_last(row) for row in chosen]).reshape(-1, 1))
        still = np.arange(chosen.shape[1]) < np.array(frozen).reshape(-1, 1)
        return cls(np.where(still, np.nan, log10), still, tuple(epochs), tuple(own))

    def bins(self) -> Iterator[tuple[int, int]]:
        """Consecutive rows of one stage in about `MOST` groups, the first row alone."""
        count = len(self.epochs)
        if count:
            yield 0, 1
        edges = (
            set(np.linspace(1, count, min(count - 1, MOST) + 1).round().astype(int).tolist()) if count > 1 else set()
        )
        edges |= {index for index in range(2, count) if self.stages[index] != self.stages[index - 1]}
        yield from pairwise(sorted(edges))


def _last(row: Array) -> float:
    """The signal at the last layer that has one."""
    known = row[np.isfinite(row)]
    return float(known[-1]) if len(known) else float("nan")
