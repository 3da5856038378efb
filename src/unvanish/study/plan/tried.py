"""Every run that a study has wanted so far, by what is known."""

from collections.abc import Iterator
from typing import Any

from unvanish.core.recipe import Recipe
from unvanish.study.plan import halving, search, select
from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import Known
from unvanish.study.plan.study import Study


def tried(study: Study, cell: Cell, known: Known) -> Iterator[tuple[dict[str, Any], Recipe]]:
    """Of a cell, each with the settings that differ between runs; some may not have begun."""
    varied = dict(cell.varied)
    if study.search is not None:
        for value in search.every_value(study, cell, known):
            for recipe in study.recipes(cell, **{study.search.setting: value}):
                yield varied | {study.search.setting: value}, recipe
    elif study.select is not None:
        for number, recipe in enumerate(select.candidates(study, cell)):
            yield varied | {study.select.setting: study.select.values[number // len(study.seeds)]}, recipe
        best = select.chosen(study, cell, known)
        for recipe in () if best is None else select.final(study, cell, best):
            yield varied | {study.select.setting: best}, recipe
    else:
        yield from ((varied, recipe) for recipe in study.recipes(cell))
        if study.halving is not None and cell in halving.left(study, known):
            yield from ((varied, recipe) for recipe in halving.final(study, cell))
