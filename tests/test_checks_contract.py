"""The contract of every check, and how findings are put in order; no check is named but where order is the matter."""

import itertools
import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.core.check import Check, Examination, Inputs, ordered
from unvanish.core.finding import KINDS, Finding, Kind
from unvanish.core.reading import QUANTITIES, Reading
from unvanish.doctor.checks import ALL
from unvanish.doctor.rules import explanation, rule

SECTIONS = ("What it measures:", "Why it is bad:", "Known problems:", "Remedies:", "References:")


def reading(layers: int = 6, **columns: list[float]) -> Reading:
    """A healthy network's."""
    usual = {name: np.ones(layers) for name in QUANTITIES}
    usual |= {
        "saturated_L": np.full(layers, np.nan),
        "dead_L": np.zeros(layers),
        "update_ratio_L": np.full(layers, 1e-3),
    }
    return Reading(tuple(f"layer{i}" for i in range(layers)), **usual | {k: np.array(v) for k, v in columns.items()})


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.code)
def test_a_check_says_what_it_is(check: Check) -> None:
    assert check.code.startswith("UV")
    assert len(check.code) == 5
    assert check.kind in KINDS
    text = explanation(check)
    assert text.splitlines()[0] == f"{check.code} {check.title}"
    assert [section for section in SECTIONS if section in text] == list(SECTIONS)
    assert check.remedies
    assert set(check.explains) <= set(get_args(Kind))
    assert check.kind not in check.explains
    assert sys.modules[type(check).__module__].__file__


def test_codes_are_different_and_every_kind_has_one_check() -> None:
    assert len({check.code for check in ALL}) == len(ALL)
    assert sorted(check.kind for check in ALL) == sorted(KINDS)
    for check in ALL:
        assert rule(check.code.lower()) is check
        assert rule(check.kind) is check


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.code)
@pytest.mark.parametrize("learns", [True, False, None])
def test_a_healthy_reading_is_no_finding(check: Check, learns: bool | None) -> None:
    seen = Examination(reading(), learns=learns, inputs=Inputs(0.0, 1.0, 1.0), exhausted=learns is False)
    assert check.examine(seen) is None


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.code)
def test_a_reading_of_nothing_and_of_one_layer_is_no_finding(check: Check) -> None:
    for layers in (0, 1):
        nothing = reading(layers, **{name: [float("nan")] * layers for name in QUANTITIES})
        assert check.examine(Examination(nothing, learns=False, tried=True, exhausted=True)) is None


number = st.floats(0, 1e12, allow_subnormal=False) | st.just(float("nan")) | st.just(float("inf")) | st.just(0.0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_reading_breaks_a_check(data: st.DataObject) -> None:
    columns = {name: data.draw(st.lists(number, min_size=5, max_size=5)) for name in QUANTITIES}
    seen = Examination(
        reading(5, **columns),
        learns=data.draw(st.sampled_from([True, False, None])),
        tried=data.draw(st.booleans()),
        exhausted=data.draw(st.booleans()),
        learns_at=data.draw(st.sampled_from([(), (0.01,), (1000.0,)])),
    )
    found = [finding for check in ALL if (finding := check.examine(seen)) is not None]
    told = ordered(found)
    assert sorted(finding.code for finding in told) == sorted(finding.code for finding in found)
    assert all(0 <= finding.certainty <= 1 for finding in told)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-12, 1e12), st.lists(st.floats(1e-20, 1e6), min_size=6, max_size=6), st.booleans())
def test_a_multiple_of_the_loss_changes_nothing(scale: float, signal: list[float], learns: bool) -> None:
    one = Examination(reading(backward_norm_L=signal), learns=learns, exhausted=True)
    other = replace(one, reading=reading(backward_norm_L=[scale * value for value in signal]))
    for check in ALL:
        a, b = check.examine(one), check.examine(other)
        assert (a and (a.kind, a.layers)) == (b and (b.kind, b.layers))


def finding(kind: Kind, certainty: float = 0.9, explains: tuple[Kind, ...] = ()) -> Finding:
    return Finding(f"UV-{kind}", kind, "", certainty=certainty, explains=explains)


def test_causes_come_first_and_consequences_say_whose_they_are() -> None:
    cause = finding("lr_high", 0.6, ("dead",))
    middle, last = finding("dead", 0.95, ("vanishing",)), finding("vanishing", 0.99)
    for order in itertools.permutations([last, middle, cause]):
        told = ordered(order)
        assert [one.kind for one in told] == ["lr_high", "vanishing", "dead"]
        assert [one.because_of for one in told] == [None, "UV-lr_high", "UV-lr_high"]


def test_of_two_that_explain_each_other_the_more_certain_is_the_cause() -> None:
    one, other = finding("dead", 0.7, ("vanishing",)), finding("vanishing", 0.9, ("dead",))
    assert [found.kind for found in ordered([one, other])] == ["vanishing", "dead"]


def test_what_is_not_sure_explains_nothing() -> None:
    told = ordered([finding("dead", 0.4, ("vanishing",)), finding("vanishing", 0.9)])
    assert [(one.kind, one.because_of) for one in told] == [("vanishing", None), ("dead", None)]
