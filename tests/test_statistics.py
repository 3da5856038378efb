"""Statistics against closed forms, against SciPy's own tests, and by simulation."""

import math

import numpy as np
import pytest
from scipy import special, stats

from unvanish.core.statistics import (
    BOOTSTRAP_FROM,
    FAR,
    Estimate,
    _noncentrality,
    bootstrap_interval,
    estimate,
    holm,
    indistinguishable,
    paired,
    t_interval,
)


def covers(interval, n: int, trials: int) -> float:
    random = np.random.default_rng(1)
    found = [interval(random.normal(3.0, 2.0, n)) for _ in range(trials)]
    return float(np.mean([low <= 3.0 <= high for low, high in found]))


def test_at_five_seeds_the_t_interval_covers_as_often_as_it_says():
    def of_estimate(values):
        one = estimate(values)
        return one.low, one.high

    assert covers(of_estimate, 5, 4000) == pytest.approx(0.95, abs=0.0103)  # 3 standard errors of a share of 4,000


def test_at_five_seeds_the_bootstrap_does_not():
    assert covers(bootstrap_interval, 5, 400) == pytest.approx(0.84, abs=0.055)


def test_from_twenty_seeds_on_the_interval_is_the_bootstrap_s():
    values = np.random.default_rng(0).exponential(size=BOOTSTRAP_FROM)
    one, fewer = estimate(values), estimate(values[:-1])
    assert (one.low, one.high) == bootstrap_interval(values)
    assert (fewer.low, fewer.high) == t_interval(values[:-1])


def test_one_interval_in_closed_form():
    one = estimate([1.0, 3.0])  # t_(1, 0.975) = tan(0.475 π), std/√2 = 1
    assert one.mean == 2.0
    assert one.std == pytest.approx(math.sqrt(2))
    assert one.high == pytest.approx(2 + math.tan(0.475 * math.pi))


def test_the_paired_test_is_scipy_s():
    random = np.random.default_rng(0)
    a, b = random.normal(size=7), random.normal(0.4, 1, 7)
    ours, theirs = paired(a.tolist(), b.tolist()), stats.ttest_rel(b, a)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert ours.effect == pytest.approx(theirs.statistic / math.sqrt(7), rel=1e-9)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.difference.low, ours.difference.high) == pytest.approx((low, high), rel=1e-9)


def test_the_interval_of_the_effect_is_that_of_the_noncentral_t():
    one = paired([0.0] * 5, [1.0, 2.0, 2.5, 3.0, 4.0])
    t = one.effect * math.sqrt(5)
    assert stats.nct.sf(t, 4, one.effect_low * math.sqrt(5)) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, 4, one.effect_high * math.sqrt(5)) == pytest.approx(0.025, abs=1e-6)


def test_the_interval_of_the_effect_covers_as_often_as_it_says():
    random, inside = np.random.default_rng(2), 0
    for _ in range(2000):
        one = paired([0.0] * 5, random.normal(0.8, 1.0, 5).tolist())
        inside += one.effect_low <= 0.8 <= one.effect_high
    assert inside / 2000 == pytest.approx(0.95, abs=0.0147)


def test_seeds_that_all_gave_the_same_number_have_no_p_value():
    chance = [0.1] * 5
    one = estimate(chance)
    assert one == Estimate(0.1, 0.0, 5, 0.1, 0.1, same=True)  # exactly, not to rounding
    assert one.interval(4) == "all 5 the same"
    against = paired(chance, chance)
    assert against.equal
    assert math.isnan(against.p)
    shifted = paired(chance, [0.5] * 5)
    assert math.isnan(shifted.p)
    assert not shifted.equal


def test_differences_that_are_equal_up_to_rounding_have_no_p_value():
    assert 0.8 - 0.7 != 0.9 - 0.8
    one = paired([0.7, 0.8], [0.8, 0.9])
    assert one.difference.same
    assert one.difference.mean == pytest.approx(0.1)
    assert math.isnan(one.p)
    assert not paired([0.7, 0.8], [0.8, 0.9 + 1e-12]).difference.same


@pytest.mark.parametrize("t", [FAR, -FAR])
def test_far_out_the_effect_s_interval_goes_on_as_the_noncentral_t_s(t):
    for p in (0.025, 0.975):
        assert _noncentrality(4, p, 1.0001 * t) == pytest.approx(1.0001 * special.nctdtrinc(4, p, t), rel=2e-4)


def test_differences_that_are_nearly_equal_have_an_interval_and_take_no_time():
    """With scipy's own inverse, at a t of 10^13, this would not end."""
    one = paired([0.0] * 3, [0.1, 0.1 + 1e-14, 0.1 - 1e-14])
    assert one.p < 1e-20
    assert 0 < one.effect_low < one.effect < one.effect_high < math.inf


def test_one_seed_has_no_interval():
    one = estimate([0.5])
    assert (one.std, one.low, one.high, one.interval(2)) == (None, None, None, "one seed")
    assert math.isnan(paired([0.1], [0.2]).p)


@pytest.mark.parametrize("values", [[], [math.nan], [0.1, math.inf]])
def test_what_is_no_number_is_refused(values):
    with pytest.raises(ValueError, match="finite"):
        estimate(values)


def test_holm_by_hand():
    assert holm([0.01, 0.02, 0.03, 0.04]) == [0.04, 0.06, 0.06, 0.06]
    assert holm([0.5, 0.001]) == [0.5, 0.002]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    found = holm([math.nan, 0.02, 0.03])
    assert math.isnan(found[0])
    assert found[1:] == [0.04, 0.04]


def test_holm_keeps_the_share_of_families_with_a_false_finding():
    random = np.random.default_rng(3)
    false = sum(min(holm(random.uniform(size=10).tolist())) < 0.05 for _ in range(3000))
    assert false / 3000 == pytest.approx(1 - 0.995**10, abs=0.012)  # the smallest of ten is below 0.005


def test_what_was_not_told_apart():
    pairs = {("a", "b"): False, ("a", "c"): False, ("b", "c"): False}
    assert indistinguishable("abc", pairs) == [("a", "b", "c")]
    assert indistinguishable("abc", dict.fromkeys(pairs, True)) == []
    assert indistinguishable("abc", {**pairs, ("a", "b"): True}) == [("a", "c"), ("b", "c")]
