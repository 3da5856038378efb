"""Every run that a study has wanted so far, by what is known."""

from collections.abc import Iterator, Sequence
from typing import Any

from unvanish.core.recipe import Recipe
from unvanish.study.plan import halving, search, select
from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import Known
from unvanish.study.plan.study import Study


def tried(
    study: Study, known: Known, cells: Sequence[Cell] | None = None
) -> Iterator[tuple[Cell, dict[str, Any], Recipe]]:
    """Each with its cell, and with the settings that differ between runs; some may not have begun.

    cells   of these alone
    """
    left = set(halving.left(study, known)) if study.halving is not None else set[Cell]()
    for cell in study.cells if cells is None else cells:
        for own, recipe in _of_cell(study, cell, known):
            yield cell, {**cell.varied, **own}, recipe
        for recipe in halving.final(study, cell) if cell in left else ():
            yield cell, dict(cell.varied), recipe


def _of_cell(study: Study, cell: Cell, known: Known) -> Iterator[tuple[dict[str, Any], Recipe]]:
    """With what a search or a selection sets."""
    if study.search is not None:
        for value in search.every_value(study, cell, known):
            own = {study.search.setting: value}
            yield from ((own, recipe) for recipe in study.recipes(cell, **own))
    elif study.select is not None:
        for number, recipe in enumerate(select.candidates(study, cell)):
            yield {study.select.setting: study.select.values[number // len(study.seeds)]}, recipe
        best = select.chosen(study, cell, known)
        for recipe in () if best is None else select.final(study, cell, best):
            yield {study.select.setting: best}, recipe
    else:
        yield from (({}, recipe) for recipe in study.recipes(cell))
