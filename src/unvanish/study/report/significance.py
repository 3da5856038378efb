"""Which methods differ, and which cannot be told apart: paired tests over the seeds, Holm-corrected."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from unvanish.core.statistics import ALPHA, BOOTSTRAP_FROM, Estimate, Paired, estimate, holm, indistinguishable, paired
from unvanish.core.values import counted
from unvanish.study.methods import BASELINE
from unvanish.study.report.groups import MOST_SHOWN, Group, judged_on, quoted
from unvanish.study.report.section import Section, Table

MOST_PAIRS = 120  # in a table
MOST_TOLD = 6  # of the methods that are left out


@dataclass(frozen=True)
class Compared:
    """One method against another; `p` corrected for all that were tested with it."""

    first: str
    second: str
    found: Paired
    p: float

    @property
    def told_apart(self) -> bool:
        """p < 0.05 after the correction. Where there is no test, nothing is told apart."""
        return not math.isnan(self.p) and self.p < ALPHA

    @property
    def verdict(self) -> str:
        if self.found.equal:
            return "the same"
        return "no test" if math.isnan(self.p) else "yes" if self.told_apart else "no"


Values = Mapping[str, Mapping[int, float]]  # method → seed → accuracy


def values_of(groups: Sequence[Group], by: str = "last") -> tuple[dict[str, dict[int, float]], list[str]]:
    """The accuracy of each seed, of the methods whose runs have all finished; and a sentence for each of the others."""
    values: dict[str, dict[int, float]] = {}
    left_out = []
    for group in groups:
        outcomes = group.outcomes
        found = {seed: one.best_val_acc if by == "best" else one.last_val_acc for seed, one in outcomes.items()}
        unfit = [one.state for seed, one in outcomes.items() if one.state != "finished" or found[seed] is None]
        if unfit:
            said = ", ".join(f"{unfit.count(state)} {state}" for state in dict.fromkeys(unfit))
            left_out.append(f"{quoted(group.name)} is left out: of its {counted(len(outcomes), 'run')} {said}.")
            continue
        values[group.name] = {seed: value for seed, value in found.items() if value is not None}
    if len(left_out) > MOST_TOLD:
        left_out = [*left_out[:MOST_TOLD], f"And {len(left_out) - MOST_TOLD} more."]
    return values, left_out


def compared(values: Values, pairs: Sequence[tuple[str, str]]) -> list[Compared]:
    """Each pair over the seeds that both have; those without any in common are left out."""
    found = []
    for first, second in pairs:
        seeds = sorted(values[first].keys() & values[second].keys())
        if seeds:
            both = ([values[name][seed] for seed in seeds] for name in (first, second))
            found.append((first, second, paired(*both)))
    corrected = holm([one.p for _, _, one in found])
    return [Compared(first, second, one, p) for (first, second, one), p in zip(found, corrected, strict=True)]


def not_told_apart(values: Values) -> list[tuple[str, ...]]:
    """The largest sets of methods of which no two were told apart."""
    names = list(values)
    all_pairs = {(one.first, one.second): one.told_apart for one in compared(values, list(combinations(names, 2)))}
    return indistinguishable(names, {pair: all_pairs.get(pair, False) for pair in combinations(names, 2)})


def significance(groups: Sequence[Group], baseline: str | None = None, by: str = "last") -> Section | None:
    """The section of a report; `None` where there is nothing to compare: one method."""
    values, left_out = values_of(groups, by)
    if len(values) < 2:
        title = "What can be told apart"
        return Section("significance", title, ["There are no two methods to compare.", *left_out]) if left_out else None
    which = "in the last epoch" if by == "last" else "of the best epoch"
    counts = [len(one) for one in values.values()]
    if max(counts) < 2:
        return Section(
            "significance",
            "What can be told apart",
            [
                "One seed each: there are no intervals and no tests, and a difference may be chance. Train with "
                "several: --seeds 1,2,3,4,5, or a study file.",
                *left_out,
            ],
        )
    reference = baseline or BASELINE
    gone = reference not in values and reference in [group.name for group in groups]
    against = _comparable(
        values, ((reference, name) for name in values if name != reference) if reference in values else ()
    )
    pairs = _comparable(values, combinations(values, 2)) if len(values) <= MOST_SHOWN else []
    two_families = 0 < len(against) < len(pairs)
    sentences = [
        f"Accuracy on the {judged_on(groups)} {which}, over {_range(counts)} seeds. Intervals are Student's 95 %"
        + (f", from {BOOTSTRAP_FROM} seeds on those of the bootstrap" if max(counts) >= BOOTSTRAP_FROM else "")
        + ". Tests are Student's paired test, the same seed of one method against that of the other, with Holm's "
        "correction for the number of tests; told apart means p < 0.05. d_z is the mean difference over its standard "
        "deviation.",
        *([_of_families(reference)] if two_families else []),
        *([f"Nothing is tested against {quoted(reference)}, the baseline, which is left out."] if gone else []),
        *_of_seeds(values),
        *_of_constants(values),
        *left_out,
        *_of_sets(values, reference if against else None),
    ]
    tables = [_means(values)]
    if against:
        tables.append(_against(values, against, f"Against {quoted(reference)}"))
    if len(against) < len(pairs) <= MOST_PAIRS:
        of = "All pairs: the" if len(pairs) > 1 else "The"
        tables.append(_against(values, pairs, f"{of} second minus the first"))
    return Section("significance", "What can be told apart", sentences, tables, [FIGURE])


FIGURE = "intervals"


def estimates(groups: Sequence[Group], by: str = "last") -> dict[str, Estimate]:
    values, _ = values_of(groups, by)
    return {name: estimate(list(seeds.values())) for name, seeds in values.items()}


def _means(values: Values) -> Table:
    rows = []
    for name, seeds in values.items():
        one = estimate(list(seeds.values()))
        rows.append(
            (name, str(one.n), f"{one.mean:.4f}", "–" if one.std is None else f"{one.std:.4f}", one.interval(4))
        )
    return Table("Each method", ("method", "seeds", "mean", "std", "95 % interval of the mean"), rows)


def _against(values: Values, pairs: Sequence[tuple[str, str]], caption: str) -> Table:
    rows = []
    for one in compared(values, pairs):
        difference, found = one.found.difference, one.found
        effect = "–" if math.isnan(found.effect) else f"{found.effect:.2f}"
        effects = "–" if math.isnan(found.effect) else f"{found.effect_low:.2f} to {found.effect_high:.2f}"
        rows.append(
            (
                one.first,
                one.second,
                f"{difference.mean:+.4f}",
                difference.interval(4),
                effect,
                effects,
                _p(found.p),
                _p(one.p),
                one.verdict,
            )
        )
    columns = ("first", "second", "difference", "95 % interval", "d_z", "its interval", "p", "p, Holm", "told apart")
    return Table(caption, columns, rows)


def _p(p: float) -> str:
    """
    >>> _p(0.04321), _p(1e-7), _p(float("nan"))
    ('0.043', '< 0.0001', 'none')
    """
    return "none" if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _comparable(values: Values, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that have seeds in common."""
    return [(a, b) for a, b in pairs if values[a].keys() & values[b].keys()]


def _of_families(reference: str) -> str:
    return (
        f"There are two families of tests: each method against {quoted(reference)}, and, stricter, all pairs; the "
        "sets below are of the second."
    )


def _range(counts: Sequence[int]) -> str:
    """
    >>> _range([5, 5]), _range([3, 2, 5])
    ('5', '2 to 5')
    """
    return str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"


def _of_seeds(values: Values) -> list[str]:
    """Of methods that lack seeds which others have: not trained yet, or failed before the first epoch."""
    every = {seed for seeds in values.values() for seed in seeds}
    lacking = {name: sorted(every - seeds.keys()) for name, seeds in values.items() if every - seeds.keys()}
    if not lacking:
        return []
    told = [f"{quoted(name)} has no run with seed {' or '.join(map(str, s))}" for name, s in lacking.items()]
    more = f"; and so {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return [
        f"Not every method has every seed: {'; '.join(told[:MOST_TOLD])}{more}. Two methods are compared over the "
        "seeds that both have, and not at all where there is none."
    ]


def _of_constants(values: Values) -> list[str]:
    """Of methods whose seeds all gave the same number, which no test can say anything of."""
    found: dict[float, list[str]] = {}
    for name, seeds in values.items():
        alike = set(seeds.values())
        if len(seeds) > 1 and len(alike) == 1:
            found.setdefault(alike.pop(), []).append(name)
    return [
        f"{_listed(names)}: all seeds gave {value:.4f}, the same number. Nothing is known of how it would spread, and "
        "between two such methods there is no test."
        for value, names in found.items()
    ]


def _of_sets(values: Values, reference: str | None) -> list[str]:
    if len(values) > MOST_SHOWN:
        only = f"only each against {quoted(reference)}" if reference else "and there is no baseline to test against"
        return [f"Of {len(values)} methods not every pair is tested, {only}."]
    sets = not_told_apart(values)
    if not sets:
        return ["Every method was told apart from every other."]
    return [
        "Not told apart, that is, these seeds do not show that they differ: "
        + "; ".join(_listed(names) for names in sets)
        + "."
        + (" A method outside of a set was told apart from at least one inside of it." * (len(sets[0]) < len(values)))
    ]


def _listed(names: Sequence[str]) -> str:
    """
    >>> _listed(["1a", "2", "5"]), _listed(["tanh, depth 3", "5"])
    ('1a, 2 and 5', "'tanh, depth 3' and 5")
    """
    *others, last = map(quoted, names)
    return f"{', '.join(others)} and {last}" if others else last
