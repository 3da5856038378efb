"""The backward signal over depth, at initialisation and at the end, on one scale."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from unvanish.study.report.curves import CURVE_POINTS, LABEL, picked, short
from unvanish.study.report.palette import LABELS, ONLY_SHOWN, encoding, labelled, shown, spread_apart
from unvanish.study.report.results import Group
from unvanish.study.report.theory import predicted_signal

HEIGHT = 300
CROSS = "M-.5,-.5L.5,.5M.5,-.5L-.5,.5"


def profile_domain(groups: Sequence[Group]) -> tuple[float, float]:
    """Of the backward signal before the first step and at the end, over all methods, at most 14 decades."""
    signals = [group.hidden("backward_rms", log=True) for group in groups]
    ends = [signal[[0, -1]] for signal in signals if len(signal)]
    values = np.concatenate([part[np.isfinite(part) & (part > 0)] for part in ends]) if ends else np.empty(0)
    if not len(values):
        return 1e-8, 1.0
    high = 10.0 ** math.ceil(math.log10(values.max()))
    return max(10.0 ** math.floor(math.log10(values.min()) - 0.4), high * 1e-14), high  # with room for a label


def depth_profile(groups: Sequence[Group], step: int, title: str) -> alt.LayerChart:
    """The RMS of the backward signal over depth, a line per method, at a measured step (0: init, −1: the end).

    At initialisation with what theory predicts, as crosses, set equal to what was measured at the last hidden layer.
    """
    names, (low, high) = [group.name for group in groups], profile_domain(groups)
    rows, labels = [], []
    for group in groups:
        values = group.hidden("backward_rms", log=True)
        own = [
            {"method": group.name, "layer": layer, "signal": short(value)}
            for layer, value in enumerate(values[step] if len(values) else (), start=1)
            if math.isfinite(value) and value > 0
        ]
        rows += own
        labels += own[:1]
    unit = (math.log(high / low)) / HEIGHT
    places = spread_apart([math.log(max(low, one["signal"])) for one in labels], LABEL * unit)
    labels = [{**one, "signal": math.exp(place)} for one, place in zip(labels, places, strict=True)]
    layers = max((len(group.first.table.layers) - 1 for group in groups), default=1)
    shared: dict[str, Any] = {
        "x": alt.X(
            "layer:Q",
            title="hidden layer",
            scale=alt.Scale(domain=[1 - 0.26 * layers, layers + 0.15], nice=False),
            axis=alt.Axis(grid=False, values=list(range(1, layers + 1)), format="d"),
        ),
        "y": alt.Y(
            "signal:Q",
            title="RMS of ∂loss/∂z",
            scale=alt.Scale(type="log", domain=[low, high], nice=False, clamp=True),
            axis=alt.Axis(format=".0e"),
        ),
    }
    tips = ["method:N", alt.Tooltip("layer:Q", title="hidden layer"), alt.Tooltip("signal:Q", title="RMS of ∂loss/∂z")]
    measured = alt.Chart(alt.Data(values=rows)).transform_filter(ONLY_SHOWN)
    line = measured.mark_line(strokeWidth=1.8, clip=True).encode(**shared, **encoding(names))
    points = measured.mark_point(filled=True, size=28, opacity=1, clip=True)
    points = points.encode(**shared, color=encoding(names)["color"], tooltip=tips)
    words = alt.Chart(alt.Data(values=labels)).transform_filter(ONLY_SHOWN).transform_filter(LABELS)
    words = words.mark_text(align="right", dx=-6, fontSize=11).encode(
        **shared, text="method:N", color=encoding(names)["color"]
    )
    theory = alt.Chart(alt.Data(values=_predicted_rows(groups) if step == 0 else [])).transform_filter(ONLY_SHOWN)
    crosses = theory.mark_point(shape=CROSS, size=220, strokeWidth=1.2, clip=True)
    crosses = crosses.encode(**shared, color=encoding(names)["color"], tooltip=tips)
    return (
        alt.LayerChart(layer=[line, points, words, crosses])
        .add_params(shown(names), labelled())
        .properties(
            height=HEIGHT,
            width="container",
            title=title,
            description=f"The backward signal over the hidden layers {title}, a line for each of {', '.join(names)}.",
        )
    )


def _predicted_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for group in groups:
        signal, measured = predicted_signal(group.recipe), group.hidden("backward_rms", log=True)
        if signal and len(measured) and len(signal) == measured.shape[1] and measured[0, -1] > 0:
            rows += [
                {"method": group.name, "layer": layer, "signal": short(value * measured[0, -1])}
                for layer, value in enumerate(signal, start=1)
            ]
    return rows


def fraction(groups: Sequence[Group], quantity: str, title: str) -> alt.LayerChart | None:
    """A fraction's mean over the hidden layers along a training; `None` where no method has it."""
    names, rows, ends = [group.name for group in groups], [], []
    for group in groups:
        values = group.hidden(quantity, log=False)
        own = []
        for index in picked(len(values), CURVE_POINTS):
            seen = values[index][np.isfinite(values[index])]
            if len(seen):
                own.append({"method": group.name, "epoch": index, "f": short(float(seen.mean()))})
        rows += own
        ends += own[-1:]
    if not rows:
        return None
    places = spread_apart([one["f"] for one in ends], LABEL / 220, low=0.0)
    longest = max(row["epoch"] for row in rows)
    x = alt.X(
        "epoch:Q",
        title="epoch",
        scale=alt.Scale(domain=[0, max(1, longest) * 1.2], nice=False),
        axis=alt.Axis(grid=False, format="d", tickMinStep=1),
    )
    y = alt.Y("f:Q", title="mean over hidden layers", scale=alt.Scale(domain=[0, 1]))
    line = alt.Chart(alt.Data(values=rows)).transform_filter(ONLY_SHOWN).mark_line(strokeWidth=1.8, clip=True)
    line = line.encode(x=x, y=y, tooltip=["method:N", "epoch:Q", alt.Tooltip("f:Q", title="share")], **encoding(names))
    labels = [{**one, "f": place} for one, place in zip(ends, places, strict=True)]
    words = (
        alt.Chart(alt.Data(values=labels))
        .transform_filter(ONLY_SHOWN)
        .transform_filter(LABELS)
        .mark_text(align="left", dx=4, fontSize=10)
    )
    words = words.encode(x=x, y=y, text="method:N", color=encoding(names)["color"])
    return (
        alt.LayerChart(layer=[line, words])
        .add_params(shown(names), labelled())
        .properties(height=220, width="container", title=title, description=f"{title}, over epochs.")
    )
