"""What the charts of lines share: their colours and dashes, which lines are shown, and where labels stand."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from unvanish.study.report.looks import looks


def encoding(names: Sequence[str]) -> dict[str, Any]:
    """Of a chart of lines with a field `method`. Without legends: lines are labelled, and the page has its selector."""
    domain, chosen = list(names), looks(names)
    return {
        "color": alt.Color(
            "method:N", legend=None, scale=alt.Scale(domain=domain, range=[colour for colour, _ in chosen])
        ),
        "strokeDash": alt.StrokeDash(
            "method:N", legend=None, scale=alt.Scale(domain=domain, range=[list(dash) for _, dash in chosen])
        ),
    }


def shown(names: Sequence[str]) -> alt.Parameter:
    """Which methods a chart shows: the page's selector sets it in all of them."""
    return alt.param(name="shown", value=list(names))


def labelled() -> alt.Parameter:
    """Whether lines have labels: the page turns them off where it is narrow."""
    return alt.param(name=LABELS, value=True)


LABELS = "labels"  # a signal: narrow pages have no room for labels beside the lines
ONLY_SHOWN = "indexof(shown, datum.method) >= 0"


def spread_apart(values: Sequence[float], least: float, low: float = -math.inf) -> list[float]:
    """The values moved as little as labels of height `least` need, in their order, and not below `low`.

    >>> spread_apart([0.5, 0.5, 0.9], 0.1), spread_apart([0.0, 0.0], 0.1, low=0.0)
    ([0.45, 0.55, 0.9], [0.0, 0.1])
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    clusters: list[tuple[float, int]] = []  # centre, size: those that would touch, around their mean
    for index in order:
        clusters.append((values[index], 1))
        while len(clusters) > 1 and clusters[-1][0] - clusters[-2][0] < least * (clusters[-1][1] + clusters[-2][1]) / 2:
            (b, m), (a, n) = clusters.pop(), clusters.pop()
            clusters.append(((a * n + b * m) / (n + m), n + m))
    wanted = [centre + (place - (size - 1) / 2) * least for centre, size in clusters for place in range(size)]
    placed: list[float] = []
    for value in wanted:
        placed.append(max(value, placed[-1] + least if placed else low))
    found = dict(zip(order, placed, strict=True))
    return [round(found[index], 6) for index in range(len(values))]
