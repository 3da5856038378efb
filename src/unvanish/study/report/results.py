"""What the runs came to: one line per method, over its seeds."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unvanish.core.recipe import Recipe
from unvanish.core.statistics import Estimate, estimate
from unvanish.core.table import Array
from unvanish.store.conditions import in_words
from unvanish.store.record import Record
from unvanish.study.methods import METHODS, label
from unvanish.study.report.theory import predicted_signal

NEEDS = {  # epochs, measured here with seed 42: see docs/results.md
    "4b": (60, "stays at chance for some 55 epochs"),
    "6": (300, "its first six trainings need some 100 epochs each, 900 in all"),
}


def over_seeds(values: Iterable[float | None]) -> Estimate | None:
    """Their mean and spread; `None` where a seed has no such value: a mean over the others would be biased."""
    numbers = list(values)
    known = [value for value in numbers if value is not None]
    return estimate(known) if known and len(known) == len(numbers) else None


@dataclass(frozen=True)
class Group:
    """The runs of one method at one length, a seed each."""

    name: str
    records: tuple[Record, ...]

    @property
    def first(self) -> Record:
        return self.records[0]

    @property
    def recipe(self) -> Recipe:
        return recipe_of(self.first)

    @property
    def title(self) -> str:
        return METHODS[label(self.recipe)][0] if label(self.recipe) in METHODS else "recipe of your own"

    @property
    def changes(self) -> str:
        return str(self.recipe) if self.recipe.remedies else "nothing"

    @property
    def state(self) -> str:
        states = [record.outcome.state for record in self.records]
        return states[0] if len(set(states)) == 1 else ", ".join(f"{states.count(s)} {s}" for s in sorted(set(states)))

    @property
    def staged(self) -> bool:
        """Several trainings, one after the other."""
        return len(set(self.first.curve["stage"])) > 1

    @property
    def predicted(self) -> float | None:
        """`attenuation` at the initial weights, by mean-field theory."""
        signal = predicted_signal(self.recipe)
        return signal[0] if signal else None

    @property
    def short(self) -> str:
        """What a method needs more epochs for than this run has; "" where it has them."""
        needed, why = NEEDS.get(label(self.recipe), (0, ""))
        return why if self.recipe.epochs < needed else ""

    @property
    def last(self) -> Estimate | None:
        return over_seeds(record.outcome.last_val_acc for record in self.records)

    @property
    def best(self) -> Estimate | None:
        return over_seeds(record.outcome.best_val_acc for record in self.records)

    @property
    def to_70(self) -> Estimate | None:
        return over_seeds(record.outcome.seconds_to_70 for record in self.records)

    def attenuation(self, step: int) -> float | None:
        """`attenuation`, its geometric mean over the seeds; `None` where one has none."""
        found = [attenuation(record, step) for record in self.records]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        return statistics.geometric_mean(known) if min(known) > 0 else 0.0

    def hidden(self, quantity: str, *, log: bool) -> Array:
        """A quantity's mean over the seeds at the hidden layers, [S, L−1]; with `log` the geometric mean."""
        values = [hidden(record, quantity) for record in self.records]
        steps = min(len(one) for one in values)
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
        return sum(record.outcome.seconds for record in self.records)


def _known_mean(seeds: Array) -> Array:
    """Over the first dimension, of the values that are there; NaN where none is."""
    known = ~np.isnan(seeds)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, seeds, 0.0).sum(0) / np.maximum(count, 1), np.nan)


def grouped(records: Iterable[Record]) -> list[Group]:
    """The runs that differ in their seed only, together: in the published order, then recipes of one's own.

    Lengths are named only where they differ, and what else tells two groups apart where their names are the same.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.recipe is not None:
            groups.setdefault(record.recipe.but(seed=0).digest(), []).append(record)
    several = len({recipe_of(members[0]).epochs for members in groups.values()}) > 1
    order = list(METHODS)

    def place(members: list[Record]) -> tuple[int, str, int, str]:
        recipe = recipe_of(members[0])
        name = label(recipe)
        return order.index(name) if name in order else len(order), name, recipe.epochs, recipe.but(seed=0).digest()

    sorted_groups = sorted(groups.values(), key=place)
    names = [_name(recipe_of(members[0]), several) for members in sorted_groups]
    return [
        Group(
            f"{name} ({recipe_of(members[0]).but(seed=0).digest()[:6]})" if names.count(name) > 1 else name,
            tuple(sorted(members, key=lambda record: recipe_of(record).seed)),
        )
        for name, members in zip(names, sorted_groups, strict=True)
    ]


def _name(recipe: Recipe, several: bool) -> str:
    return f"{label(recipe)}, {recipe.epochs} epoch{'s' * (recipe.epochs > 1)}" if several else label(recipe)


def recipe_of(record: Record) -> Recipe:
    assert record.recipe is not None, "a report is of recipes"
    return record.recipe


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


def as_factor(value: float | None) -> str:
    """How an attenuation reads best.

    >>> as_factor(1 / 118_000), as_factor(1.25), as_factor(0.0), as_factor(None)
    ('1/118,000', '× 1.2', '0', '–')
    """
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if value >= 0.95:
        return f"× {value:,.1f}" if value < 100 else f"× {float(f'{value:.3g}'):,.0f}"
    inverse = 1 / value
    return f"1/{inverse:.1f}" if inverse < 10 else f"1/{float(f'{inverse:.3g}'):,.0f}"


COLUMNS = (
    "method",
    "what it changes",
    "val acc, last",
    "best",
    "s to 70%",
    "gradient at init",
    "theory",
    "at the end",
    "state",
)


def table(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """The results, as text by `COLUMNS`."""
    rows = []
    for group in groups:
        rows.append(
            (
                group.name,
                f"{group.title}: {group.changes}" if group.recipe.remedies else "nothing",
                group.last.format(4) if group.last else "–",
                group.best.format(4) if group.best else "–",
                group.to_70.format(0) if group.to_70 else "–",
                as_factor(group.attenuation(0)),
                as_factor(group.predicted),
                as_factor(group.attenuation(-1)),
                group.state + (f"; {group.short}" if group.short else ""),
            )
        )
    return rows


def numbers(groups: Sequence[Group]) -> list[tuple[float, ...]]:
    """Of the columns of `table` that are numbers, what they are sorted by; NaN where there is none."""
    nan = float("nan")
    return [
        (
            group.last.mean if group.last else nan,
            group.best.mean if group.best else nan,
            group.to_70.mean if group.to_70 else nan,
            *(nan if one is None else one for one in (group.attenuation(0), group.predicted, group.attenuation(-1))),
        )
        for group in groups
    ]


def headline(groups: Sequence[Group]) -> str:
    """What the baseline's gradient does, measured; or that of the first method where there is no baseline."""
    for group in groups:
        factor = group.attenuation(0)
        if factor is not None:
            layers = group.recipe.network
            return (
                f"At initialisation the gradient at the first hidden layer of the {group.name} network ({layers}) is "
                f"{as_factor(factor)} of that at its last."
            )
    return ""


def different_environments(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Where the runs were trained, each machine and set of versions once."""
    different: dict[str, dict[str, Any]] = {}
    for group in groups:
        for record in group.records:
            different.setdefault(str(record.environment), in_words(record.environment))
    return list(different.values())
