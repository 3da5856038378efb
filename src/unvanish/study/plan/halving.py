"""Successive halving: the cells that are behind after so many epochs are stopped, and never in silence.

Who goes on is decided on held-out training images. The cells that are left in the end are then trained on all of
them, and judged on the test images, once.

(Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization", algorithm 1.) The
runs that are stopped stay in the store as unfinished, with their checkpoint, and in the report as stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from unvanish.core.recipe import Recipe
from unvanish.study.jobs import Wanted
from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import Known
from unvanish.study.plan.study import Study


@dataclass(frozen=True)
class Rung:
    """After so many epochs in all: each cell with its mean accuracy, the best first, and how many went on."""

    epochs: int
    order: tuple[tuple[Cell, float], ...]
    kept: int

    @property
    def stopped(self) -> tuple[Cell, ...]:
        return tuple(cell for cell, _ in self.order[self.kept :])


def rungs(study: Study, known: Known) -> list[Rung]:
    """Those that are decided."""
    found, cells = list[Rung](), study.cells
    assert study.halving is not None
    for epochs in sorted(study.halving.epochs):
        means = {cell: _mean(study, cell, known, epochs) for cell in cells}
        if any(mean is None for mean in means.values()):
            break
        order = sorted(((cell, mean or 0.0) for cell, mean in means.items()), key=lambda pair: -pair[1])
        kept = study.halving.kept_of(len(cells))
        found.append(Rung(epochs, tuple(order), kept))
        cells = [cell for cell, _ in order[:kept]]
    return found


def stopped(study: Study, known: Known) -> dict[Cell, int]:
    """Each cell that was stopped, with the epochs after which it was."""
    return {cell: rung.epochs for rung in rungs(study, known) for cell in rung.stopped}


def wanted(study: Study, known: Known) -> list[Wanted]:
    decided = rungs(study, known)
    assert study.halving is not None
    ahead = sorted(study.halving.epochs)[len(decided) :]
    left = [cell for cell, _ in decided[-1].order[: decided[-1].kept]] if decided else study.cells
    if not ahead:
        return [Wanted(recipe) for cell in left for recipe in final(study, cell) if known(recipe) is None]
    runs = [recipe for cell in left for recipe in study.recipes(cell) if known(recipe) is None]
    return [Wanted(recipe, ahead[0]) for recipe in runs if known.after(recipe, ahead[0]) is None]


def left(study: Study, known: Known) -> list[Cell]:
    """The cells that are left when all is decided; none before."""
    decided = rungs(study, known)
    assert study.halving is not None
    if len(decided) < len(study.halving.epochs):
        return []
    return [cell for cell, _ in decided[-1].order[: decided[-1].kept]]


def final(study: Study, cell: Cell) -> tuple[Recipe, ...]:
    """Of a cell that is left in the end: trained on all training images."""
    return study.recipes(cell, held_out=None)


def _mean(study: Study, cell: Cell, known: Known, epochs: int) -> float | None:
    found: Sequence[float | None] = [known.after(recipe, epochs) for recipe in study.recipes(cell)]
    values = [one for one in found if one is not None]
    return fmean(values) if len(values) == len(found) else None
