"""What the runs came to: one line per method, over its seeds."""

from collections.abc import Sequence
from typing import Any

from unvanish.store.conditions import in_words
from unvanish.study.report.groups import Group, quoted

LARGE = 1e8  # more zeros cannot be counted at a glance


def as_factor(value: float | None) -> str:
    """How an attenuation reads best.

    >>> as_factor(1 / 118_000), as_factor(1.25), as_factor(0.0), as_factor(None), as_factor(1.3e-19)
    ('1/118,000', '× 1.2', '0', '–', '1/7.7e18')
    """
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if value >= 0.95:
        if value >= LARGE:
            return f"× {value:.1e}".replace("e+", "e")
        return f"× {value:,.1f}" if value < 100 else f"× {float(f'{value:.3g}'):,.0f}"
    inverse = 1 / value
    if inverse >= LARGE:
        return f"1/{inverse:.1e}".replace("e+", "e")
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
                f"{group.title}: {group.changes}" if group.recipe.remedies else group.changes,
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
            network = f"the {quoted(group.name)} network ({group.recipe.network})"
            return (
                f"At initialisation the gradient at the first hidden layer of {network} is "
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
