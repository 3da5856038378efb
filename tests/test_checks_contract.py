"""The contract of every check, and how findings are put in order; no check is named but where order is the matter."""

import itertools
import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unvanish.core.finding import KINDS, Finding, Fix, Kind
from unvanish.core.remedy import Remedy
from unvanish.core.table import Table
from unvanish.diagnosis.checks import ALL
from unvanish.diagnosis.examination import Check, Examination, Inputs, Standardised, ordered
from unvanish.diagnosis.rules import explanation, rule
from unvanish.measure.quantities import ALL as MEASURED

QUANTITIES = [quantity.name for quantity in MEASURED]

SECTIONS = ("What it measures:", "Why it is bad:", "Limitations:", "Prescriptions:", "References:")


def table(layers: int = 6, width: int = 128, **columns: list[float]) -> Table:
    """A healthy ReLU network's."""
    usual = {name: np.ones(layers) for name in QUANTITIES}
    usual |= {
        "saturated": np.full(layers, np.nan),
        "dead": np.zeros(layers),
        "update_ratio": np.full(layers, 1e-3),
    }
    values = {name: np.array(value, float)[None] for name, value in (usual | columns).items()}
    names = tuple(f"layer{i}" for i in range(layers))
    return Table(names, (0,), values, dict.fromkeys(names, width))


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.code)
def test_a_check_says_what_it_is(check: Check) -> None:
    assert check.code.startswith("UV")
    assert len(check.code) == 5
    assert check.kind in KINDS
    text = explanation(check)
    assert text.splitlines()[0] == f"{check.code} {check.title}"
    assert [section for section in SECTIONS if section in text] == list(SECTIONS)
    assert check.prescriptions
    assert all(isinstance(one, str | Remedy | Fix) for one in check.prescriptions)
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
def test_a_healthy_table_is_no_finding(check: Check, learns: bool | None) -> None:
    seen = Examination(table(), learned=learns, inputs=Inputs(0.0, 1.0, 1.0), exhausted=learns is False)
    assert check.examine(seen) is None


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.code)
def test_a_table_of_nothing_and_of_one_layer_is_no_finding(check: Check) -> None:
    for layers in (0, 1):
        nothing = table(layers, **{name: [float("nan")] * layers for name in QUANTITIES})
        assert check.examine(Examination(nothing, learned=False, tried=True, exhausted=True)) is None


number = st.floats(0, 1e12, allow_subnormal=False) | st.just(float("nan")) | st.just(float("inf")) | st.just(0.0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_table_breaks_a_check(data: st.DataObject) -> None:
    columns = {name: data.draw(st.lists(number, min_size=5, max_size=5)) for name in QUANTITIES}
    seen = Examination(
        table(5, **columns),
        learned=data.draw(st.sampled_from([True, False, None])),
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
    one = Examination(table(backward_norm=signal), learned=learns, exhausted=True)
    other = replace(one, table=table(backward_norm=[scale * value for value in signal]))
    for check in ALL:
        a, b = check.examine(one), check.examine(other)
        assert (a and (a.kind, a.layers)) == (b and (b.kind, b.layers))


def finding(kind: Kind, certainty: float = 0.9, explains: tuple[Kind, ...] = ()) -> Finding:
    return Finding(f"UV-{kind}", kind, kind, "", certainty=certainty, explains=explains)


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


# Every threshold, from either side

NAN = float("nan")
FAILS = {"learned": False, "tried": True}
FAILS_AT_EVERY_RATE = FAILS | {"exhausted": True}


def falling(total: float, layers: int = 6) -> list[float]:
    """A backward signal that is lost evenly on its way down: so much of it is left at the first layer."""
    return list(total ** (1 - np.arange(layers) / (layers - 1)))


def saturation(share: float, layers: int = 6) -> dict[str, list[float]]:
    return {"saturated": [share] * (layers - 1) + [NAN]}


def contrast(value: float, layers: int = 6) -> dict[str, list[float]]:
    return {"spread": [1.0, *np.geomspace(0.9, value, layers - 2), 1.0]}


def at_one_layer(name: str, value: float, layers: int = 6) -> dict[str, list[float]]:
    return {name: [value if index == 2 else 0.0 for index in range(layers)]}


def inputs(rms: float, mean: float = 0.0) -> dict[str, Inputs]:
    return {"inputs": Inputs(mean, rms, rms)}


HELPS = {"standardised": Standardised(learned=True)}
SIDES = [  # kind, table and facts on the healthy side, and on the other
    ("vanishing", (falling(2.1e-2), FAILS_AT_EVERY_RATE), (falling(1.9e-2), FAILS_AT_EVERY_RATE)),
    ("vanishing", (falling(1.1e-3), FAILS), (falling(0.9e-3), FAILS)),
    ("vanishing", (falling(1.1e-4), {"learned": None}), (falling(0.9e-4), {"learned": None})),
    ("vanishing", (falling(1e-12), {"learned": True}), (falling(1e-12), FAILS)),
    ("exploding", (falling(1 / 990), FAILS, "up"), (falling(1 / 1010), FAILS, "up")),
    ("exploding", (falling(1 / 9.9e3), FAILS | {"learns_at": (0.1,)}, "up"),
     (falling(1 / 1.01e4), FAILS | {"learns_at": (0.1,)}, "up")),
    ("exploding", (falling(1 / 9.9e4), {"learned": None}, "up"), (falling(1 / 1.01e5), {"learned": None}, "up")),
    ("exploding", (falling(1 / 9.9e5), {"learned": True}, "up"), (falling(1 / 1.01e6), {"learned": True}, "up")),
    ("collapse", (contrast(0.031), FAILS), (contrast(0.029), FAILS)),
    ("collapse", (contrast(0.0031), {"learned": None}), (contrast(0.0029), {"learned": None})),
    ("dead", (at_one_layer("dead", 0.69), FAILS), (at_one_layer("dead", 0.71), FAILS)),
    ("dead", (at_one_layer("dead", 0.99), {"learned": None}), (at_one_layer("dead", 0.999), {"learned": None})),
    ("saturated", (saturation(0.64), FAILS), (saturation(0.66), FAILS)),
    ("saturated", (saturation(0.89), {"learned": None}), (saturation(0.91), {"learned": None})),
    ("saturated", ({"saturated": [0.84] + [0.95] * 4 + [NAN]}, {"learned": True}),
     ({"saturated": [0.86] + [0.95] * 4 + [NAN]}, {"learned": True})),
    ("input_scale", ({}, FAILS | inputs(7.9) | HELPS), ({}, FAILS | inputs(8.1) | HELPS)),
    ("input_scale", ({}, FAILS | inputs(0.031) | HELPS), ({}, FAILS | inputs(0.029) | HELPS)),
    ("input_scale", ({}, FAILS | inputs(1.0, 7.9) | HELPS), ({}, FAILS | inputs(1.0, 8.1) | HELPS)),
    ("input_scale", ({}, FAILS | inputs(90)), ({}, FAILS | inputs(90) | HELPS)),
    ("lr_low", ({}, FAILS | {"learns_at": (290.0,)}), ({}, FAILS | {"learns_at": (310.0,)})),
    ("lr_low", ({"update_ratio": [1.1e-5] * 6}, FAILS | {"learns_at": (50.0,)}),
     ({"update_ratio": [0.9e-5] * 6}, FAILS | {"learns_at": (50.0,)})),
    ("lr_high", ({}, FAILS), ({}, FAILS | {"learns_at": (0.01,)})),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "healthy", "failing"), SIDES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_on_either_side_of_every_threshold(kind: Kind, healthy: tuple, failing: tuple) -> None:
    for side, expected in ((healthy, False), (failing, True)):
        shown, facts, *up = side
        if isinstance(shown, list):  # a backward signal
            shown = {"backward_norm": [1 / value for value in shown] if up else shown}
        found = rule(kind).examine(Examination(table(**shown), **facts))
        assert (found is not None) == expected, found


@pytest.mark.parametrize(("rate", "certainty"), [(0.31, 0.6), (0.29, 0.9)])
def test_how_sure_a_rate_makes_us(rate: float, certainty: float) -> None:
    found = rule("lr_high").examine(Examination(table(), learned=False, tried=True, learns_at=(rate,)))
    assert found is not None
    assert found.certainty == certainty


@pytest.mark.parametrize(("lost_in_one_layer", "sudden"), [(1.1e-4, False), (0.9e-4, True)])
def test_a_collapse_within_one_layer_is_a_cause_of_its_own(lost_in_one_layer: float, sudden: bool) -> None:
    seen = Examination(table(spread=[1.0, 1.0, *[lost_in_one_layer] * 3, 1.0]), learned=False)
    found = rule("collapse").examine(seen)
    assert found is not None
    assert ("vanishing" in found.explains) == sudden


@pytest.mark.parametrize(("left", "certainty"), [(1.1e-6, 0.85), (0.9e-6, 0.95)])
def test_what_no_rate_can_help_is_the_surer(left: float, certainty: float) -> None:
    found = rule("vanishing").examine(Examination(table(backward_norm=falling(left)), learned=False))
    assert found is not None
    assert found.certainty == certainty


@pytest.mark.parametrize(
    ("units", "dead", "expected"), [(16, 0.94, False), (16, 1.0, True), (64, 0.74, False), (64, 0.76, True)]
)
def test_of_a_narrow_layer_more_must_be_dead_than_by_chance(units: int, dead: float, expected: bool) -> None:
    seen = Examination(table(width=units, **at_one_layer("dead", dead)), learned=False)
    assert (rule("dead").examine(seen) is not None) == expected


@pytest.mark.parametrize(("before", "expected"), [(0.031, True), (0.029, False)])
def test_behind_a_collapse_half_of_a_layer_looks_dead_and_is_not(before: float, expected: bool) -> None:
    seen = Examination(table(spread=[1.0, before, 1.0, 1.0, 1.0, 1.0], **at_one_layer("dead", 0.8)), learned=False)
    assert (rule("dead").examine(seen) is not None) == expected


# A loss that is spread evenly, or not


@pytest.mark.parametrize(("depth", "gain"), [(100, 0.8), (200, 0.85), (40, 0.95)])
def test_an_even_loss_is_decided_on_the_total_and_all_alike_are_blamed(depth: int, gain: float) -> None:
    seen = Examination(table(depth, backward_norm=falling(gain ** (depth - 1), depth)), **FAILS_AT_EVERY_RATE)
    found = rule("vanishing").examine(seen)
    if gain ** (depth - 1) > 0.02:
        assert found is None
        return
    assert found is not None
    assert found.evidence["signal_left"] == pytest.approx(gain ** (depth - 1))
    assert found.evidence["factor_per_layer"] == pytest.approx(gain, rel=0.05)
    assert len(found.layers) == depth - 1


def test_where_two_layers_lose_it_all_they_alone_are_blamed() -> None:
    signal = [1e-8] * 3 + [1e-4] + [1.0] * 8
    found = rule("vanishing").examine(Examination(table(12, backward_norm=signal), **FAILS))
    assert found is not None
    assert found.layers == ("layer2", "layer3")
    assert "1e-08 of its norm is left at layer layer0" in found.message
