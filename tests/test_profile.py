"""How a signal fares over depth: figures and named layers, worked out by hand; and tables compared."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from test_checks_contract import table
from unvanish.core.table import Table, joined
from unvanish.diagnosis.checks import ALL
from unvanish.diagnosis.examination import Check, Examination
from unvanish.diagnosis.profile import (
    Passage,
    backward_growth,
    backward_loss,
    contrast,
    dead_layers,
    dead_only_at_this_scale,
    forward_growth,
    growth_over_time,
    left_over_time,
    listed,
    skips_over,
)

NAN, INF = float("nan"), float("inf")


def names(*numbers: int) -> tuple[str, ...]:
    return tuple(f"layer{number}" for number in numbers)


@pytest.mark.parametrize(
    ("backward", "expected"),
    [
        ([1, 1, 1, 1, 1, 1], Passage(1.0, (), "layer0")),
        ([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1], Passage(1e-5, names(0, 1, 2, 3, 4), "layer0")),
        ([1e-4, 1e-4, 1e-4, 1, 1, 1], Passage(1e-4, names(2), "layer0")),  # lost between layer 3 and layer 2
        ([1, 1, 1, 1, 1, 1e-3], Passage(1.0, (), "layer0")),  # it grows on its way down
        ([1, 1e-6, 1, 1, 1, 1], Passage(1.0, (), "layer0")),  # inside of a branch
        ([0, 0, 0, 1, 1, 1], Passage(0.0, names(2), "layer0")),
        ([NAN, NAN, 1e-2, 1, 1, 1], Passage(0.0, names(1), "layer0")),
        ([0, 0, 0, 0, 0, 0], Passage(1.0, ())),
        ([0, 0, 1e-42, 1e-28, 1e-14, 1], Passage(0.0, names(0, 1, 2, 3, 4), "layer0")),  # used up: it goes on like that
        ([0, 0, 1e-20, 1e-14, 1e-7, 1], Passage(0.0, names(1), "layer0")),  # cut off between layer 2 and layer 1
        # Nine tenths of what is lost go in one layer, and no neighbour loses half as much
        ([1e-10, 1e-9, 1, 1, 1, 1], Passage(1e-10, names(1), "layer0")),
        ([1e-12, 1e-7, 1, 1, 1, 1], Passage(1e-12, names(0, 1), "layer0")),
    ],
)  # fmt: skip
def test_backward_loss(backward, expected) -> None:
    found = backward_loss(table(backward_norm=backward))
    assert (found.layers, found.at) == (expected.layers, expected.at)
    assert found.factor == pytest.approx(expected.factor, rel=1e-9)
    assert backward_loss(table(backward_norm=[1e9 * one for one in backward])).layers == found.layers


def test_one_layer_loses_nothing() -> None:
    for seen in (Table(), table(1)):
        assert backward_loss(seen) == backward_growth(seen) == forward_growth(seen) == Passage(1.0, ())


@pytest.mark.parametrize(
    ("factor", "layers", "per_layer"), [(1e-6, names(0, 1, 2), 1e-2), (0.5, names(3), 0.5), (9.0, (), 1.0)]
)
def test_per_layer(factor, layers, per_layer) -> None:
    assert Passage(factor, layers).per_layer == pytest.approx(per_layer)


@pytest.mark.parametrize(
    ("backward", "factor", "layers", "at"),
    [
        ([1e5, 1e4, 1e3, 1e2, 10, 1], 1e5, names(0, 1, 2, 3, 4), "layer0"),
        ([1, 1e4, 1e4, 1, 1, 1], 1e4, names(2), "layer1"),
        ([1e4, 1, 1, 1, 1, 2], 5e3, names(0), "layer0"),
        ([1, 1, 1, 1, 1, 1], 1.0, (), "layer0"),
        ([1, 1, 1, 1, 1, 0], 1.0, (), ""),
        ([1, 1, 1, 1, 1, NAN], 1.0, (), ""),
    ],
)
def test_backward_growth(backward, factor, layers, at) -> None:
    assert backward_growth(table(backward_norm=backward)) == Passage(pytest.approx(factor), layers, at)


@pytest.mark.parametrize(
    ("forward", "factor", "layers", "at"),
    [
        ([1, 10, 100, 1e3, 1e4, 1], 1e4, names(1, 2, 3, 4), "layer4"),
        ([1, 1, 1e3, 1e3, 1e3, 1], 1e3, names(2), "layer2"),
        ([1, 1, 1, 1, 1, 1e9], 1.0, (), "layer0"),  # the output does not count
        ([0, 1, 1, 1, 100, 1], 100.0, names(4), "layer4"),
        ([NAN, 2, 2, 200, 2, 2], 100.0, names(3), "layer3"),
        ([0, 0, 0, 0, 7, 1], 1.0, (), ""),
    ],
)
def test_forward_growth(forward, factor, layers, at) -> None:
    assert forward_growth(table(activation_rms=forward)) == Passage(pytest.approx(factor), layers, at)


@pytest.mark.parametrize(
    ("over_calls", "grown", "left"),
    [
        ({"rnn": [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 1]}, 1.0, 1e-3),
        ({"rnn": [1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1, 1]}, 1e4, 1.0),
        ({"rnn": [1e6, 1, 1, 1, 1, 1, 1]}, 1.0, 1.0),  # seven uses are depth
        ({"a": [1e3, *[1.0] * 7], "b": [1e5, *[1.0] * 7], "c": [1e2, *[1.0] * 7]}, 1e5, 1.0),
        ({"a": [*[1e-3] * 4, *[1.0] * 4], "b": [*[1e-5] * 4, *[1.0] * 4], "c": [*[0.1] * 4, *[1.0] * 4]}, 1.0, 1e-5),
        ({"rnn": [INF, *[1.0] * 7]}, INF, 1.0),
        ({"rnn": [1.0, *[0.0] * 7]}, 1.0, 1.0),
        ({"rnn": [0.0] * 8}, 1.0, 1.0),
        ({"rnn": []}, 1.0, 1.0),
    ],
)
def test_over_time(over_calls, grown, left) -> None:
    seen = replace(table(), over_calls={name: np.array(norms) for name, norms in over_calls.items()})
    for found, factor in ((growth_over_time(seen), grown), (left_over_time(seen), left)):
        assert found.factor == pytest.approx(factor)
        assert found.at == "".join(found.layers)
        assert bool(found.layers) == (factor != 1.0)
    if len(over_calls) == 3:
        assert "b" in growth_over_time(seen).layers + left_over_time(seen).layers


@pytest.mark.parametrize(
    ("layers", "pairs"),
    [(1, ()), (3, ()), (4, ((1, 3),)), (5, ((1, 3),)), (6, ((1, 3), (3, 5))), (8, ((1, 3), (3, 5), (5, 7)))],
)
def test_skips_over(layers, pairs) -> None:
    assert skips_over(table(layers)) == pairs


@pytest.mark.parametrize(
    ("found", "text"),
    [("a", "layer a"), ("abc", "3 layers (a, b, c)"), ("abcd", "4 layers (a, b, c …)")],
)
def test_listed(found, text) -> None:
    assert listed(found) == text


def test_contrast_is_what_differs_over_what_is() -> None:
    seen = contrast(table(spread=[1, 0, 0, 2, NAN, 1], activation_rms=[2, 1, 0, 1, 1, INF]))
    np.testing.assert_array_equal(seen, [0.5, 0, NAN, 2, NAN, 0])


@pytest.mark.parametrize(
    ("width", "dead", "counted"),
    [
        (100, 0.69, False),  # by chance up to 0.5 + 4·0.5/√100 = 0.7
        (100, 0.70, True),
        (16, 0.99, False),  # 0.5 + 4·0.5/4 = 1
        (16, 1.0, True),
        (4, 0.99, False),  # beyond 1
        (4, 1.0, True),
        (0, 0.01, True),  # of an unknown width
    ],
)
def test_as_many_units_as_chance_makes_dead_do_not_count(width, dead, counted) -> None:
    seen = dead_layers(table(width=width, dead=[0, 0, dead, 0, 0, 0]))
    assert seen[2] == (dead if counted else 0)


def test_behind_a_collapse_only_a_layer_without_any_live_unit_counts() -> None:
    spread = [1, 0.02, 1, 1, 1, 1]
    assert dead_layers(table(spread=spread, dead=[0, 0.9, 0.9, 0.9, 0, 0])).tolist() == [0, 0.9, 0, 0.9, 0, 0]
    assert dead_layers(table(spread=spread, dead=[0, 0, 1, 0, 0, 0]))[2] == 1
    unknown = [1, 0.02, NAN, 1, 1, 1]
    assert dead_layers(table(spread=unknown, dead=[0, 0, 0, 0.9, 0, 0]))[3] == 0


def test_where_narrow_layers_lose_the_backward_signal_as_they_do_at_critical_weights_all_dead_units_count() -> None:
    """Six layers of 8 units: β/4 = 5/4·6/8 = 0.94, so down to exp(−0.94 − 3·√0.94) = 0.021 by chance alone."""

    def counted(width: int, left: float) -> float:
        return dead_layers(table(width=width, dead=[0, 0, 0.6, 0, 0, 0], backward_norm=[left, *[1.0] * 5]))[2]

    assert counted(8, 0.01) == 0  # lost by more than chance: by the weights' size
    assert counted(4, 0.01) == 0.6  # β/4 = 1.88: down to 0.0025
    assert counted(4, 0.003) == 0.6
    assert counted(4, 0.002) == 0
    assert counted(4, 0.03) == 0  # not lost


@pytest.mark.parametrize(("now", "then", "only_here"), [(0.9, 0.5, True), (0.9, 0.8, False), (0.5, 0.1, False)])
def test_dead_only_at_this_scale(now, then, only_here) -> None:
    def seen(dead: float) -> Table:
        return table(width=10_000, dead=[0, dead, 0, 0, 0, NAN])

    assert dead_only_at_this_scale(Examination(seen(now), stronger=seen(then))) is only_here
    assert not dead_only_at_this_scale(Examination(seen(now)))


@pytest.mark.parametrize("check", ALL, ids=lambda check: check.code)
def test_nobody_changes_a_check(check: Check) -> None:
    with pytest.raises(FrozenInstanceError):
        check.code = "UV999"  # pyright: ignore[reportAttributeAccessIssue]
    assert check == type(check)()


def test_tables_are_equal_if_all_of_them_is() -> None:
    one = table(3, spread=[1.0, NAN, 2.0])
    assert one == table(3, spread=[1.0, NAN, 2.0])
    assert hash(one) == hash(table(3, spread=[1.0, NAN, 2.0]))
    assert one != "a table"
    for other in (
        table(3, spread=[1.0, NAN, 3.0]),
        table(3, spread=[1.0, 1.0, 2.0]),
        replace(one, steps=(1,)),
        replace(one, layers=("a", "b", "c")),
        replace(one, units={}),
        replace(one, values={}),
        replace(one, over_calls={"rnn": np.ones(3)}),
        replace(one, values={name: value for name, value in one.values.items() if name != "dead"}),
    ):
        assert one != other
        assert other != one
    assert repr(one).startswith("Table(3 layers, 1 steps: ")


def test_steps_joined_and_taken_apart() -> None:
    first, second = table(2, spread=[1.0, 2.0]), replace(table(2, spread=[3.0, NAN]), steps=(5,))
    whole = joined([first, second])
    assert whole.steps == (0, 5)
    assert len(whole) == 2
    assert [whole.at(0), whole.at(1), whole.at(-1)] == [first, second, second]
    np.testing.assert_array_equal(whole.mean("all").row("spread"), [2.0, 2.0])
    np.testing.assert_array_equal(whole.row("spread", 0), [1, 2])
    np.testing.assert_array_equal(whole.row("nothing"), [NAN, NAN])


def test_the_factor_per_layer_of_a_signal_that_was_used_up_is_that_of_the_layers_where_it_was_seen() -> None:
    used_up = backward_loss(table(backward_norm=[0, 0, 1e-42, 1e-28, 1e-14, 1]))
    assert used_up.per_layer == pytest.approx(1e-14)
    assert backward_loss(table(backward_norm=[0, 0, 0, 1, 1, 1])).per_layer == 0
