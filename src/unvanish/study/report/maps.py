"""Maps of the gradient: layer × epoch, in the colour of the ratio to the last hidden layer."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from unvanish.study.report.ratios import FLOOR, Ratios
from unvanish.study.report.results import Group

STILL = "#a9a9a9"  # a frozen layer
TICKS = [-6, -4, -2, 0, 2, 4, 6]
BLUE_TO_RED = ["#08306b", "#2171b5", "#9ecae1", "#f4f2ec", "#fdae6b", "#d94801", "#7f2704"]  # ColorBrewer's ends
UNDER = 0.12  # of a cell: it reaches under the next one, or renderers leave a seam between them
IN_WORDS = "datum.r == null ? 'frozen' : datum.r <= -12 ? 'nothing arrives' : '× ' + format(pow(10, datum.r), '.3~g')"
AS_FACTOR = "{'-6': '10⁻⁶', '-4': '10⁻⁴', '-2': '10⁻²', '0': '× 1', '2': '10²', '4': '10⁴', '6': '10⁶'}[datum.value]"


def colour(legend: alt.Legend | None) -> alt.Color:
    """0, as large as at the last hidden layer, in the middle. The range is fixed, so that reports can be compared."""
    scale = alt.Scale(domain=TICKS, range=BLUE_TO_RED, interpolate="lab", clamp=True)
    return alt.Color("r:Q", scale=scale, legend=legend)


def cells(group: Group) -> list[dict[str, Any]]:
    """Of a map: layer, first and last epoch, log₁₀ ratio (`r`, null for a frozen layer), and the ratio in words."""
    found, rows = Ratios.of_group(group), []
    for start, stop in found.bins():
        part, still = found.log10_SL[start:stop], found.frozen_SL[start:stop]
        first, last = found.epochs[start], found.epochs[stop - 1]
        end = last + 0.5 + (UNDER * (last - first + 1) if stop < len(found.epochs) else 0)
        for layer in range(part.shape[1]):
            seen = part[:, layer][~np.isnan(part[:, layer])]
            at = {"layer": layer + 1, "a": first, "b": last, "e": round(end, 3)}
            if len(seen):
                mean = float(seen.mean())  # a geometric mean; −inf, nothing arrives, gets the darkest colour
                low = 2 * FLOOR
                rows.append({**at, "r": round(max(mean, low) if math.isfinite(mean) else low, 3)})
            elif still[:, layer].any():
                rows.append({**at, "r": None})
    return rows


def gradient_map(group: Group, given: alt.Data | None = None) -> alt.LayerChart:
    """Of one method; `given` are other cells than its own, in the same form."""
    data = given or alt.Data(values=cells(group))
    number = group.first.curve["epoch"]
    x = alt.X(
        "from:Q",
        title="epoch",
        scale=alt.Scale(domain=[-0.5, max(1, len(number)) + 0.5], nice=False),
        axis=alt.Axis(grid=False, tickCount=5, format="d", tickMinStep=1),
    )
    y = alt.Y("layer:O", title="hidden layer", axis=alt.Axis(grid=False))
    base = (
        alt.Chart(data)
        .transform_calculate(
            **{"from": "datum.a - 0.5", "to": "datum.e"},
            ratio=IN_WORDS,
        )
        .encode(
            x=x,
            x2="to:Q",
            y=y,
            tooltip=[
                alt.Tooltip("layer:O", title="hidden layer"),
                alt.Tooltip("a:Q", title="from epoch"),
                alt.Tooltip("b:Q", title="to epoch"),
                alt.Tooltip("ratio:N", title="signal, relative to the last hidden layer"),
            ],
        )
    )
    trained = base.transform_filter("datum.r != null").mark_rect(height={"band": 1.03}).encode(color=colour(None))
    frozen = base.transform_filter("datum.r == null").mark_rect(color=STILL, height={"band": 1.03})
    return alt.LayerChart(layer=[trained, frozen]).properties(
        height=150,
        width="container",
        title=alt.TitleParams(group.name, subtitle=group.title),
        description=f"Map of the backward signal of method {group.name}: hidden layer by epoch, relative to the last "
        "hidden layer.",
    )


def colour_bar() -> alt.LayerChart:
    """The one of all maps, with a key of what has no colour."""
    steps = [
        {"x": FLOOR + index / 10, "to": min(-FLOOR, FLOOR + (index + 1.5) / 10)} for index in range(int(-20 * FLOOR))
    ]
    bar = (
        alt.Chart(alt.Data(values=steps))
        .transform_calculate(r="datum.x + 0.05")
        .mark_rect(height=14)
        .encode(
            x=alt.X(
                "x:Q",
                title=["backward signal relative to the last hidden layer", "(log scale; × 1: passes unchanged)"],
                scale=alt.Scale(domain=[FLOOR, -FLOOR], nice=False),
                axis=alt.Axis(grid=False, values=TICKS, labelExpr=AS_FACTOR),
            ),
            x2="to:Q",
            color=colour(None),
        )
    )
    return alt.LayerChart(layer=[bar]).properties(
        height=16, width="container", description="Colour bar of the maps, from a millionth to a million."
    )


def overview(groups: Sequence[Group]) -> alt.ConcatChart:
    """All maps in one still picture, each with the accuracy that its training ends with."""
    maps = [
        gradient_map(group).properties(
            width=170,
            height=110,
            title=alt.TitleParams(
                group.name,
                subtitle=[group.title, f"test accuracy {group.last.format(2)}" if group.last else group.state],
            ),
        )
        for group in groups
    ]
    return alt.concat(*maps, columns=4)
