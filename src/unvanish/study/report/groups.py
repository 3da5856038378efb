"""The runs of one method, of different seeds, together."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Protocol, TypeVar

import numpy as np

from unvanish.core.curve import Outcome
from unvanish.core.recipe import Recipe
from unvanish.core.statistics import Estimate, over_seeds
from unvanish.core.table import Array
from unvanish.store.protocol import Summary
from unvanish.store.record import Record
from unvanish.study.methods import METHODS, changes, label
from unvanish.study.report.theory import predicted_signal

NEEDS = {  # epochs, measured here with seed 42: see docs/results.md
    "4b": (60, "stays at chance for some 55 epochs"),
    "6": (300, "its first six trainings need some 100 epochs each, 900 in all"),
}


OWN = "recipe of your own"
MOST_SHOWN = 40  # methods with maps and lines of their own
MOST_READ = 400  # runs whose curves a report reads


def quoted(name: str) -> str:
    """A method's name in a sentence: in quotes where it has commas of its own."""
    return f"'{name}'" if "," in name else name


class Run(Protocol):
    """A record, or a run in a list."""

    @property
    def recipe(self) -> Recipe | None: ...
    @property
    def outcome(self) -> Outcome: ...


R = TypeVar("R", bound=Run)


@dataclass(frozen=True)
class Group:
    """The runs of one method at one length, a seed each.

    records  those whose curves and measurements are shown: all, or of very many the first ones, or none
    runs     all of them, where these are more
    """

    name: str
    records: tuple[Record, ...]
    runs: "tuple[Run, ...]" = ()

    @property
    def all_runs(self) -> "tuple[Run, ...]":
        return self.runs or self.records

    @property
    def outcomes(self) -> dict[int, Outcome]:
        """By seed."""
        return {recipe_of(run).seed: run.outcome for run in self.all_runs}

    @property
    def first(self) -> Record:
        return self.records[0]

    @cached_property
    def recipe(self) -> Recipe:
        return recipe_of(self.all_runs[0])

    @property
    def title(self) -> str:
        """That of its method, or of several, `2+5`."""
        methods = label(self.recipe).split("+")
        return " + ".join(METHODS[name][0] for name in methods) if set(methods) <= METHODS.keys() else OWN

    @property
    def changes(self) -> str:
        return changes(self.recipe)

    @property
    def state(self) -> str:
        states = [run.outcome.state for run in self.all_runs]
        return states[0] if len(set(states)) == 1 else ", ".join(f"{states.count(s)} {s}" for s in sorted(set(states)))

    @cached_property
    def staged(self) -> bool:
        """Several trainings, one after the other."""
        return len(self.recipe.stage_epochs()) > 1

    @property
    def predicted(self) -> float | None:
        """`attenuation` at the initial weights, by mean-field theory; `None` too where none was read to compare."""
        signal = predicted_signal(self.recipe) if self.records else ()
        return signal[0] if signal else None

    @property
    def short(self) -> str:
        """What a method needs more epochs for than this run has; "" where it has them."""
        needed, why = NEEDS.get(label(self.recipe), (0, ""))
        return why if self.recipe.epochs < needed else ""

    @cached_property
    def last(self) -> Estimate | None:
        return over_seeds(run.outcome.last_val_acc for run in self.all_runs)

    @cached_property
    def best(self) -> Estimate | None:
        return over_seeds(run.outcome.best_val_acc for run in self.all_runs)

    @cached_property
    def to_70(self) -> Estimate | None:
        return over_seeds(run.outcome.seconds_to_70 for run in self.all_runs)

    def attenuation(self, step: int) -> float | None:
        """`attenuation`, its geometric mean over the seeds; `None` where one has none."""
        found = [attenuation(record, step) for record in self.records]
        known = [one for one in found if one is not None]
        if len(known) < len(found) or not known:
            return None
        return statistics.geometric_mean(known) if min(known) > 0 else 0.0

    def hidden(self, quantity: str, *, log: bool) -> Array:
        """A quantity's mean over the seeds at the hidden layers, [S, L−1]; with `log` the geometric mean."""
        values = [hidden(record, quantity) for record in self.records]
        steps = min((len(one) for one in values), default=0)
        if not steps:
            return np.empty((0, 0))
        seeds = np.stack([one[:steps] for one in values])
        if len(seeds) == 1:
            return seeds[0]
        if not log:
            return _known_mean(seeds)
        with np.errstate(divide="ignore"):  # where nothing arrives the mean is 0, too
            return np.exp(_known_mean(np.log(seeds)))

    @property
    def seconds(self) -> float:
        return sum(run.outcome.seconds for run in self.all_runs)


def judged_on(groups: Sequence[Group]) -> str:
    """The images that accuracies are of."""
    held_out = {group.recipe.held_out is not None for group in groups}
    if len(held_out) > 1:
        return "test or held-out images"
    return "held-out training images" if held_out == {True} else "test images"


def _known_mean(seeds: Array) -> Array:
    """Over the first dimension, of the values that are there; NaN where none is."""
    known = ~np.isnan(seeds)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, seeds, 0.0).sum(0) / np.maximum(count, 1), np.nan)


def grouped(records: Iterable[Record]) -> list[Group]:
    """The runs that differ in their seed only, together: in the published order, then recipes of one's own.

    Lengths are named only where they differ, and what else tells two groups apart where their names are the same.
    """
    return [Group(name, tuple(members)) for name, members in by_method(records)]


def grouped_to_read(runs: Sequence[Summary], read: Callable[[str], Record | None]) -> list[Group]:
    """The same of runs in a list, of which no more are read than figures can show; `read` gives `None` of damaged ones,
    which are left out."""
    named = by_method(runs)
    count = sum(len(members) for _, members in named)
    each = count if count <= MOST_READ else MOST_READ // len(named) if len(named) <= MOST_SHOWN else 0
    found = []
    for name, members in named:
        records = [read(member.digest) for member in members[:each]]
        whole = [member for member, one in zip(members, records, strict=False) if one is not None] + members[each:]
        if whole:
            found.append(Group(name, tuple(one for one in records if one is not None), tuple(whole)))
    return found


def by_method(runs: Iterable[R]) -> list[tuple[str, list[R]]]:
    """The groups with their names, each in the order of its seeds."""
    groups: dict[str, list[R]] = {}
    for run in runs:
        if run.recipe is not None:
            groups.setdefault(_without_seed(run.recipe), []).append(run)
    several = len({recipe_of(members[0]).epochs for members in groups.values()}) > 1
    order = {name: place for place, name in enumerate(METHODS)}

    def place(item: tuple[str, list[R]]) -> tuple[int, str, int, str]:
        recipe = recipe_of(item[1][0])
        return order.get(label(recipe), len(order)), label(recipe), recipe.epochs, item[0]

    ordered = sorted(groups.items(), key=place)
    names = [_name(recipe_of(members[0]), several) for _, members in ordered]
    often = Counter(names)
    return [
        (
            f"{name} ({key[:6]})" if often[name] > 1 else name,
            sorted(members, key=lambda run: recipe_of(run).seed),
        )
        for name, (key, members) in zip(names, ordered, strict=True)
    ]


@cache
def _canonical(recipe: Recipe) -> str:
    return recipe.digest()


def _without_seed(recipe: Recipe) -> str:
    """The digest that it would have with seed 0."""
    return _canonical(recipe.model_copy(update={"seed": 0}))


def _name(recipe: Recipe, several: bool) -> str:
    return f"{label(recipe)}, {recipe.epochs} epoch{'s' * (recipe.epochs > 1)}" if several else label(recipe)


def file_name(name: str) -> str:
    """A method's name as a part of a file's."""
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)


def recipe_of(run: Run) -> Recipe:
    assert run.recipe is not None, "a report is of recipes"
    return run.recipe


def hidden(record: Record, quantity: str) -> Array:
    """A quantity's values at the hidden layers, [S, L−1]: the output layer is the last."""
    values = record.table.values.get(quantity)
    return np.empty((0, 0)) if values is None else values[:, :-1]


def attenuation(record: Record, step: int) -> float | None:
    """Backward signal at the first hidden layer over that at the last one there, at a measured step.

    Step 0 is the initialisation, −1 the end. `None` where fewer than two layers have one.
    """
    signal = hidden(record, "backward_rms")
    if not len(signal):
        return None
    there = signal[step][np.isfinite(signal[step])]
    if len(there) < 2 or there[-1] == 0:
        return None
    return float(there[0] / there[-1])
