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
from unvanish.study.plan.parts import Search
from unvanish.study.plan.study import Study
from unvanish.study.plan.trained import trained_from


@dataclass(frozen=True)
class Greatest:
    """trained  the greatest value at which most seeds trained; `None` if there is none
    failed   the smallest value above it at which they did not; `None` if it trained up to the end
    tried    each value with the accuracy of each seed
    trying   the value that is looked at now, of which some seeds have not ended; `None` where the search is over
    """

    trained: int | None
    failed: int | None
    tried: dict[int, tuple[float, ...]]
    trying: int | None

    @property
    def ended(self) -> bool:
        return self.trying is None

    def __str__(self) -> str:
        if not self.ended:
            return "not yet known"
        if self.failed is None:
            return f"{self.trained} or more"
        return f"less than {self.failed}" if self.trained is None else str(self.trained)


def wanted(study: Study, known: Known) -> list[Recipe]:
    found: list[Recipe] = []
    for cell in study.cells:
        value = greatest(study, cell, known).trying
        if value is not None:
            found += _recipes(study, cell, value)
    return [recipe for recipe in found if known(recipe) is None]


def trains_from(study: Study, cell: Cell) -> float:
    """The accuracy that counts as trained."""
    assert study.search is not None
    return study.search.trains or trained_from(study.recipes(cell)[0])


def greatest(study: Study, cell: Cell, known: Known) -> Greatest:
    """As far as it is known."""
    search, least, tried = study.search, trains_from(study, cell), dict[int, tuple[float, ...]]()
    assert search is not None
    trained: int | None = None
    failed: int | None = None
    while (value := _to_try(search, trained, failed)) is not None:
        found = accuracies(known, _recipes(study, cell, value))
        if found is None:
            return Greatest(trained, failed, tried, value)
        tried[value] = tuple(found)
        if 2 * sum(one >= least for one in found) > len(found):
            trained = value
        else:
            failed = value
    return Greatest(trained, failed, tried, None)


def every_value(study: Study, cell: Cell, known: Known) -> list[int]:
    """That has runs, in the order in which they were tried."""
    found = greatest(study, cell, known)
    return [*found.tried] if found.trying is None else [*found.tried, found.trying]


def _recipes(study: Study, cell: Cell, value: int) -> tuple[Recipe, ...]:
    assert study.search is not None
    return study.recipes(cell, **{study.search.setting: value})


def _to_try(search: Search, trained: int | None, failed: int | None) -> int | None:
    """The next value; `None` where the search is over."""
    if trained is None:
        return search.low if failed is None else None
    if failed is None:
        return None if trained >= search.high else min(2 * trained, search.high)
    middle = round(math.sqrt(trained * failed))
    return middle if failed > search.within * trained and trained < middle < failed else None
