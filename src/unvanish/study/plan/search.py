"""The greatest value of a setting at which a cell still trains: doubling, then bisection.

    low, 2 low, 4 low, …  until one fails;  then √(trained · failed), until failed ≤ within · trained

Shallow networks cost little, so that doubling from below costs less than halving from above. It takes for granted that
what trains at a depth trains at smaller ones, which holds for most seeds and not for every one: that is why the
majority of the seeds decides.
"""

import math
from dataclasses import dataclass

from unvanish.core.recipe import Recipe
from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import Known, accuracies
from unvanish.study.plan.study import Search, Study


@dataclass(frozen=True)
class Greatest:
    """trained  the greatest value at which most seeds trained; `None` if there is none
    failed   the smallest value above it at which they did not; `None` if it trained up to the end
    tried    each value with the accuracy of each seed
    ended    whether the search is over
    """

    trained: int | None
    failed: int | None
    tried: dict[int, tuple[float, ...]]
    ended: bool

    def __str__(self) -> str:
        if not self.ended:
            return "not yet known"
        if self.failed is None:
            return f"{self.trained} or more"
        return f"less than {self.failed}" if self.trained is None else str(self.trained)


def wanted(study: Study, known: Known) -> list[Recipe]:
    return [recipe for cell in study.cells for recipe in _next(study, cell, known)[1] if known(recipe) is None]


def greatest(study: Study, cell: Cell, known: Known) -> Greatest:
    """As far as it is known."""
    return _next(study, cell, known)[0]


def _next(study: Study, cell: Cell, known: Known) -> tuple[Greatest, tuple[Recipe, ...]]:
    """What is known, and the runs that are needed to go on."""
    search, tried = study.search, dict[int, tuple[float, ...]]()
    assert search is not None
    trained: int | None = None
    failed: int | None = None
    while (value := _to_try(search, trained, failed)) is not None:
        recipes = study.recipes(cell, **{search.setting: value})
        found = accuracies(known, recipes)
        if found is None:
            return Greatest(trained, failed, tried, ended=False), recipes
        tried[value] = tuple(found)
        if 2 * sum(one >= search.trains for one in found) > len(found):
            trained = value
        else:
            failed = value
    return Greatest(trained, failed, tried, ended=True), ()


def _to_try(search: Search, trained: int | None, failed: int | None) -> int | None:
    """The next value; `None` where the search is over."""
    if trained is None:
        return search.low if failed is None else None
    if failed is None:
        return None if trained >= search.high else min(2 * trained, search.high)
    middle = round(math.sqrt(trained * failed))
    return middle if failed > search.within * trained and trained < middle < failed else None
