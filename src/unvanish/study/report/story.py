"""For a class: the baseline beside one method, at one epoch. The page sets the signals `chosen` and `at`, and the data.

The charts have no data of their own: the page gives them what the other charts have, as `curve` and `cells`.
"""

from collections.abc import Sequence

import altair as alt

from unvanish.study.methods import BASELINE
from unvanish.study.report.groups import Group
from unvanish.study.report.maps import colour
from unvanish.study.report.palette import encoding
from unvanish.study.report.ratios import FLOOR


def story(groups: Sequence[Group]) -> dict[str, alt.LayerChart]:
    """The three charts by name; empty without a baseline and something to compare it with."""
    names = [group.name for group in groups]
    if BASELINE not in names or len(names) < 2:
        return {}
    layers = len(groups[0].first.table.layers) - 1
    at = alt.param(name="at", value=0)
    return {
        "story-curve": _curve(names).add_params(at),
        "story-profile": _profile(names, layers).add_params(at),
        "story-map": _map(layers).add_params(at),
    }


def _curve(names: Sequence[str]) -> alt.LayerChart:
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(grid=False, format="d", tickMinStep=1))
    y = alt.Y("v:Q", title="accuracy, test images", scale=alt.Scale(domain=[0, 1]))
    line = alt.Chart(alt.NamedData(name="curve")).mark_line(strokeWidth=2.2).encode(x=x, y=y, **encoding(names))
    now = (
        alt.Chart(alt.Data(values=[{}])).transform_calculate(epoch="at").mark_rule(color="#8a8a8a").encode(x="epoch:Q")
    )
    return alt.LayerChart(layer=[line, now]).properties(
        height=240, width="container", title="does it learn?", description="Accuracy of the two methods over epochs."
    )


def _profile(names: Sequence[str], layers: int) -> alt.LayerChart:
    x = alt.X("layer:Q", title="hidden layer", axis=alt.Axis(grid=False, values=list(range(1, layers + 1)), format="d"))
    y = alt.Y(
        "r:Q",
        title="log₁₀ of the signal, last hidden layer = 0",
        scale=alt.Scale(domain=[FLOOR, 4], clamp=True),
    )
    here = alt.Chart(alt.NamedData(name="cells")).transform_filter("datum.a <= at && at <= datum.b && datum.r != null")
    line = here.mark_line(strokeWidth=2.2).encode(x=x, y=y, **encoding(names))
    points = here.mark_point(filled=True, size=40, opacity=1).encode(x=x, y=y, color=encoding(names)["color"])
    even = alt.Chart(alt.Data(values=[{"r": 0}])).mark_rule(color="#8a8a8a", strokeDash=[3, 3]).encode(y="r:Q")
    return alt.LayerChart(layer=[even, line, points]).properties(
        height=240,
        width="container",
        title="does the gradient arrive?",
        description="The backward signal of the two methods over depth, at the chosen epoch.",
    )


def _map(layers: int) -> alt.LayerChart:
    shown = alt.Chart(alt.NamedData(name="cells")).transform_filter("datum.method != 'baseline'")
    shown = shown.transform_calculate(**{"from": "datum.a - 0.5", "to": "datum.e"}).transform_filter("datum.r != null")
    x = alt.X("from:Q", title="epoch", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, format="d", tickCount=8))
    y = alt.Y("layer:O", title="hidden layer", scale=alt.Scale(domain=list(range(1, layers + 1))))
    rects = shown.mark_rect(height={"band": 1.03}).encode(x=x, x2="to:Q", y=y, color=colour(None))
    now = alt.Chart(alt.Data(values=[{}])).transform_calculate(epoch="at").mark_rule(color="#000", strokeWidth=1.5)
    now = now.encode(x="epoch:Q")
    return alt.LayerChart(layer=[rects, now]).properties(
        height=150,
        width="container",
        title="where is the gradient lost?",
        description="Map of the backward signal of the chosen method.",
    )
