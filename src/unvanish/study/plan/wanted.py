"""What a study still has to train, by what is known: the same question after each training, and after each start."""

from collections.abc import Callable

from unvanish.core.recipe import Recipe
from unvanish.study.jobs import Wanted
from unvanish.study.plan import halving, search, select
from unvanish.study.plan.known import Known
from unvanish.study.plan.study import Study


def wanted(study: Study, known: Known) -> list[Wanted]:
    """Empty where the study is over."""
    if study.halving is not None:
        return halving.wanted(study, known)
    find: Callable[[Study, Known], list[Recipe]] = _grid
    if study.search is not None:
        find = search.wanted
    elif study.select is not None:
        find = select.wanted
    return [Wanted(recipe) for recipe in find(study, known)]


def _grid(study: Study, known: Known) -> list[Recipe]:
    """Every cell, with every seed."""
    return [recipe for cell in study.cells for recipe in study.recipes(cell) if known(recipe) is None]
