"""The best value of a setting for each cell, judged on held-out training images; then one look at the test images."""

from statistics import fmean
from typing import Any

from unvanish.core.recipe import Recipe
from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import Known, accuracies
from unvanish.study.plan.study import Study


def wanted(study: Study, known: Known) -> list[Recipe]:
    found: list[Recipe] = []
    for cell in study.cells:
        best = chosen(study, cell, known)
        found += candidates(study, cell) if best is None else final(study, cell, best)
    return [recipe for recipe in found if known(recipe) is None]


def candidates(study: Study, cell: Cell) -> list[Recipe]:
    """Every value with every seed, without the held-out images."""
    select = study.select
    assert select is not None
    held_out = cell.settings.get("held_out", select.held_out)
    values = [{select.setting: value, "held_out": held_out} for value in select.values]
    return [recipe for one in values for recipe in study.recipes(cell, **one)]


def chosen(study: Study, cell: Cell, known: Known) -> Any:
    """The value of the highest mean accuracy; the first of equal ones. `None` where it is not known yet."""
    means = judged(study, cell, known)
    return None if means is None else max(means, key=lambda pair: pair[1])[0]


def judged(study: Study, cell: Cell, known: Known) -> list[tuple[Any, float]] | None:
    """Each value with its mean accuracy on the held-out images."""
    select = study.select
    assert select is not None
    recipes, count = candidates(study, cell), len(study.seeds)
    found = accuracies(known, recipes)
    if found is None:
        return None
    return [(value, fmean(found[i * count : (i + 1) * count])) for i, value in enumerate(select.values)]


def final(study: Study, cell: Cell, value: Any) -> tuple[Recipe, ...]:
    """Trained on all training images, and judged on the test images."""
    select = study.select
    assert select is not None
    return study.recipes(cell, **{select.setting: value, "held_out": None})
