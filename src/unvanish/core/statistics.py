"""Statistics over seeds: means with intervals, paired comparisons, Holm's correction.

Two ways of training are compared in pairs, seed by seed: the same seed gives both the same order of images, so that
what it adds to both is not counted as a difference (Student 1908).
"""
# S seeds

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
BOOTSTRAP_FROM = 20  # seeds: of fewer, the percentile interval covers too little, 0.84 in place of 0.95 at five
RESAMPLES = 10_000
FAR = 300.0  # from this t on the limit of the noncentral t: there as exact as scipy's, which far out never ends


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    std   the sample standard deviation; `None` of one seed
    low, high   the interval of the mean that covers it in 95 % of such experiments; `None` of one seed
    same  all seeds gave the same number, so that nothing can be said of how it would spread
    """

    mean: float
    std: float | None
    n: int
    low: float | None
    high: float | None
    same: bool

    def format(self, digits: int) -> str:
        """
        >>> estimate([0.81, 0.82, 0.86]).format(3), estimate([0.1, 0.1]).format(1), estimate([0.1]).format(1)
        ('0.830 ± 0.026', '0.1 (all 2)', '0.1')
        """
        text = f"{self.mean:.{digits}f}"
        if self.std is None:
            return text
        return f"{text} (all {self.n})" if self.same else f"{text} ± {self.std:.{digits}f}"

    def interval(self, digits: int) -> str:
        """`0.8112 to 0.8301`, or why there is none."""
        if self.low is None or self.high is None:
            return "one seed"
        return f"all {self.n} the same" if self.same else f"{self.low:.{digits}f} to {self.high:.{digits}f}"


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one value a seed, with its 95 % interval.

        mean ± t_(n−1, 0.975) · std/√n        (Student 1908)

    The values of a seed are taken for normal. From 20 seeds on, the percentile bootstrap of 10,000 resamples (Efron &
    Tibshirani 1993, section 13.3), which is not.

    >>> one = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> round(one.low, 4), round(one.high, 4)
    (1.0368, 4.9632)
    """
    values_S = np.asarray(values, float)
    n = len(values_S)
    if not n or not np.isfinite(values_S).all():
        raise ValueError("an estimate needs finite values, at least one")
    mean = float(values_S.mean())
    if n == 1:
        return Estimate(mean, None, 1, None, None, same=False)
    if values_S.min() == values_S.max():
        return Estimate(float(values_S[0]), 0.0, n, float(values_S[0]), float(values_S[0]), same=True)
    low, high = bootstrap_interval(values_S) if n >= BOOTSTRAP_FROM else t_interval(values_S)
    return Estimate(mean, float(values_S.std(ddof=1)), n, low, high, same=False)


def over_seeds(values: Iterable[float | None]) -> Estimate | None:
    """Their mean and spread; `None` where a seed has no such value: a mean over the others would be biased."""
    numbers = list(values)
    known = [value for value in numbers if value is not None]
    return estimate(known) if known and len(known) == len(numbers) else None


def t_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Student's interval of a mean, of at least two values."""
    from scipy import special  # which takes longer to import than all else here

    values_S = np.asarray(values, float)
    n = len(values_S)
    far = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * float(values_S.std(ddof=1)) / math.sqrt(n)
    return float(values_S.mean()) - far, float(values_S.mean()) + far


def bootstrap_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The percentile interval of a mean; the resamples are the same at each call."""
    values_S = np.asarray(values, float)
    means = _resamples(len(values_S)) @ values_S
    low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


@lru_cache(maxsize=2)
def _resamples(n: int) -> np.ndarray:
    """[10,000, n]: the share of each value in a resample of n, drawn from n with replacement."""
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    return drawn / n


@dataclass(frozen=True)
class Paired:
    """One way of training against another, over the seeds that both have.

    difference   of the second from the first, with its interval
    p            of Student's paired test, two-sided; NaN where there is none: one seed, or differences that are all
                 the same
    effect, effect_low, effect_high
                 d_z, the mean difference over its standard deviation, with its 95 % interval from the noncentral t
                 distribution (Cumming & Finch 2001); NaN where p is
    """

    difference: Estimate
    p: float
    effect: float
    effect_low: float
    effect_high: float

    @property
    def equal(self) -> bool:
        """The same number at every seed."""
        return self.difference.same and self.difference.mean == 0


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """Student's paired test of two ways of training, a value for each seed, in the same order.

        t = d̄ / (s_d/√n),    d_z = d̄/s_d

    >>> one = paired([0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0])
    >>> round(one.p, 4), round(one.effect, 3)
    (0.0305, 1.936)
    """
    if len(first) != len(second):
        raise ValueError("pairs need as many values of one as of the other")
    found = estimate(_differences(np.asarray(first, float), np.asarray(second, float)))
    if found.std is None or found.same or found.std == 0:
        return Paired(found, math.nan, math.nan, math.nan, math.nan)
    from scipy import special

    root, df = math.sqrt(found.n), found.n - 1
    t = found.mean / found.std * root
    low, high = (_noncentrality(df, p, t) / root for p in (1 - ALPHA / 2, ALPHA / 2))
    return Paired(found, 2 * float(special.stdtr(df, -abs(t))), t / root, low, high)


def _differences(first_S: np.ndarray, second_S: np.ndarray) -> list[float]:
    """Second minus first. What differs by rounding only, as 0.8 − 0.7 and 0.9 − 0.8 do, is the same."""
    found_S = second_S - first_S
    rounding = 4 * np.finfo(float).eps * max(np.abs(first_S).max(), np.abs(second_S).max())
    alike = len(found_S) > 1 and float(np.ptp(found_S)) <= rounding
    return [float(np.median(found_S))] * len(found_S) if alike else found_S.tolist()


def _noncentrality(df: int, p: float, t: float) -> float:
    """δ of which P(T ≤ t) = p. For t → ∞, T = (Z + δ)/√(χ²/df) leads to δ = t √(χ²_{1−p}/df).

    At t = 300 with 1 to 9 degrees of freedom, both are within 2·10⁻⁴ of the integral over χ².
    """
    from scipy import special

    if abs(t) <= FAR:
        return float(special.nctdtrinc(df, p, t))
    tail = p if t > 0 else 1 - p
    return t * math.sqrt(float(special.chdtri(df, tail)) / df)


def holm(ps: Sequence[float]) -> list[float]:
    """p values corrected for being several: the chance of any false one stays below 5 % (Holm 1979).

    The smallest is multiplied by their number m, the next by m − 1, and so on; never smaller than one before it. NaN
    stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((index for index, p in enumerate(ps) if not math.isnan(p)), key=lambda index: ps[index])
    found, highest = [math.nan] * len(ps), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * ps[index]))
        found[index] = highest
    return found


def indistinguishable(names: Sequence[str], different: Mapping[tuple[str, str], bool]) -> list[tuple[str, ...]]:
    """The largest sets of which no two members differ, in the order of the names: they may overlap.

    different   for each pair (a, b), a before b among the names, whether the two were told apart

    Inserting and absorbing, after Piepho 2004.

    >>> indistinguishable("abc", {("a", "b"): False, ("a", "c"): True, ("b", "c"): False})
    [('a', 'b'), ('b', 'c')]
    """
    sets = [frozenset(names)]
    for a, b in combinations(names, 2):
        if different[a, b]:
            split = [part for one in sets for part in ((one - {a}, one - {b}) if {a, b} <= one else (one,))]
            unique = list(dict.fromkeys(split))
            sets = [one for one in unique if not any(one < other for other in unique)]
    ordered = sorted((tuple(sorted(one, key=names.index)) for one in sets), key=lambda one: [*map(names.index, one)])
    return [one for one in ordered if len(one) > 1]
