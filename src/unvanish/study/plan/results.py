"""Which of a study's runs are its results."""

from collections.abc import Mapping, Sequence

from unvanish.core.recipe import Recipe
from unvanish.study.plan import halving, select
from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import Known
from unvanish.study.plan.study import Study
from unvanish.study.plan.tried import tried

Runs = Mapping[Cell, Sequence[Recipe]]


def counted_runs(study: Study, known: Known, cells: Sequence[Cell]) -> Runs:
    """Those by which it is told how far each cell is: of one that halving has left, the last trainings alone."""
    if study.halving is not None:
        results = reported(study, known, cells)
        return {cell: results[cell] or study.recipes(cell) for cell in cells}
    return {cell: [recipe for _, _, recipe in tried(study, known, [cell])] for cell in cells}


def reported(study: Study, known: Known, cells: Sequence[Cell]) -> Runs:
    """Those of each cell; of a selection, those of the value that was chosen."""
    if study.halving is not None:
        left = set(halving.left(study, known))
        return {cell: halving.final(study, cell) if cell in left else () for cell in cells}
    return {cell: _of_cell(study, cell, known) for cell in cells}


def _of_cell(study: Study, cell: Cell, known: Known) -> Sequence[Recipe]:
    if study.search is not None:
        return ()
    if study.select is not None:
        best = select.chosen(study, cell, known)
        return () if best is None else select.final(study, cell, best)
    return study.recipes(cell)
