"""Which of a study's runs are its results."""

from collections.abc import Sequence

from unvanish.core.recipe import Recipe
from unvanish.study.plan import halving, select
from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import Known
from unvanish.study.plan.study import Study
from unvanish.study.plan.tried import tried


def counted_runs(study: Study, cell: Cell, known: Known) -> list[Recipe]:
    """Those by which it is told how far a cell has come: of a cell that halving has left, the last trainings alone."""
    if study.halving is not None:
        return list(reported(study, cell, known) or study.recipes(cell))
    return [recipe for _, recipe in tried(study, cell, known)]


def reported(study: Study, cell: Cell, known: Known) -> Sequence[Recipe]:
    """Those of a cell; of a selection, those of the value that was chosen."""
    if study.search is not None:
        return ()
    if study.select is not None:
        best = select.chosen(study, cell, known)
        return () if best is None else select.final(study, cell, best)
    if study.halving is not None:
        return halving.final(study, cell) if cell in halving.left(study, known) else ()
    return study.recipes(cell)
