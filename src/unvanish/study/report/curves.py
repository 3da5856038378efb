"""Accuracy and loss over epochs: of these runs, beside the whole study, and of a method in several trainings."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from unvanish.study.report.groups import Group, judged_on
from unvanish.study.report.looks import looks
from unvanish.study.report.palette import LABELS, ONLY_SHOWN, encoding, labelled, shown, spread_apart
from unvanish.study.report.published_length import published_length

CURVE_POINTS = 120  # a run: what a chart of 700 pixels can show
DIGITS = 4  # significant, in the page's data
LABEL = 13  # pixels: the height of a line's label
ROOM = 0.14  # of the width of a chart, for the labels at the ends of the lines
HEIGHT = 320


def curves(groups: Sequence[Group], quantity: str) -> alt.LayerChart:
    """`quantity` ("acc" or "loss") over epochs: a line per method, and with several seeds a band of ± their std."""
    names = [group.name for group in groups]
    data = alt.Data(values=[row for group in groups for row in curve_rows(group, quantity)])
    longest = max((len(group.first.epochs) for group in groups), default=1)
    log = quantity == "loss"
    ends = [_end(group, f"val_{quantity}", log=log) for group in groups]
    low, high = _range(groups, quantity)
    unit = (math.log(high / low) if log else high - low) / HEIGHT
    places = spread_apart(ends, LABEL * unit, low=-math.inf if log else low + LABEL * unit / 2)
    low = min(low, 0.95 * math.exp(min(places, default=0.0))) if log else low
    labels = [
        {"method": group.name, "epoch": len(group.first.epochs), "y": math.exp(place) if log else place}
        for group, place in zip(groups, places, strict=True)
    ]
    x = alt.X(
        "epoch:Q",
        title="epoch",
        scale=alt.Scale(domain=[0, longest * (1 + ROOM)], nice=False),
        axis=alt.Axis(grid=False, format="d", tickMinStep=1, values=_ticks(longest)),
    )
    title = "loss (log scale)" if log else "accuracy"
    y = alt.Y("y:Q", title=title, scale=alt.Scale(domain=[low, high], type="log" if log else "linear", nice=False))
    tips = [
        alt.Tooltip("method:N", title="method"),
        alt.Tooltip("epoch:Q", title="epoch"),
        alt.Tooltip("v:Q", title=f"{title.split()[0]}, {judged_on(groups)}"),
        alt.Tooltip("t:Q", title=f"{title.split()[0]}, training images"),
    ]
    base = (
        alt.Chart(data)
        .transform_filter(ONLY_SHOWN)
        .transform_calculate(
            y="images == 'training' ? datum.t : datum.v",
            up="images == 'training' ? datum.t + datum.ts : datum.v + datum.vs",
            down="images == 'training' ? datum.t - datum.ts : datum.v - datum.vs",
        )
    )
    band = base.transform_filter("datum.vs > 0").mark_area(opacity=0.18, clip=True)
    band = band.encode(x=x, y=alt.Y("down:Q"), y2="up:Q", color=encoding(names)["color"], detail="method:N")
    line = base.mark_line(clip=True, strokeWidth=1.8).encode(x=x, y=y, **encoding(names))
    nearest = alt.selection_point(
        name="nearest", fields=["epoch"], nearest=True, on="pointerover", clear="pointerout", empty=False
    )
    zoom = alt.selection_interval(name="zoom", bind="scales", encodings=["x"], zoom="wheel![event.shiftKey]")
    points = base.mark_point(filled=True, size=45, clip=True).encode(
        x=x, y=y, color=encoding(names)["color"], tooltip=tips,
        opacity=alt.condition(nearest, alt.value(1), alt.value(0)),
    ).add_params(nearest)  # fmt: skip
    rule = base.transform_filter(nearest).mark_rule(color="#8a8a8a", strokeWidth=0.6, clip=True).encode(x=x)
    words = (
        alt.Chart(alt.Data(values=labels))
        .transform_filter(ONLY_SHOWN)
        .transform_filter(f"{LABELS} && images == 'test'")
    )
    words = words.mark_text(align="left", dx=5, fontSize=11, clip=True)
    words = words.encode(x=x, y=y, text="method:N", color=encoding(names)["color"])
    several = max((len(group.records) for group in groups), default=1) > 1
    return (
        alt.LayerChart(layer=[*([band] if several else []), rule, line.add_params(zoom), points, words])
        .add_params(shown(names), labelled(), alt.param(name="images", value="test"))
        .properties(
            height=HEIGHT,
            width="container",
            description=f"{title.split()[0].capitalize()} over epochs, a line for each of {', '.join(names)}.",
        )
    )


def _end(group: Group, column: str, *, log: bool) -> float:
    """Of a line, the mean over seeds; on a log scale, its logarithm."""
    values = [record.curve[column][-1] for record in group.records if record.epochs]
    known = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    mean = statistics.fmean(known) if known else 1.0
    return math.log(mean) if log else mean


def _range(groups: Sequence[Group], quantity: str) -> tuple[float, float]:
    if quantity == "acc":
        return 0.0, 1.0
    values = [
        value
        for group in groups
        for record in group.records
        for column in ("train_loss", "val_loss")
        for value in record.curve[column]
        if math.isfinite(value) and value > 0
    ]
    return (0.9 * min(values), 1.1 * max(values)) if values else (0.1, 10.0)


def _ticks(longest: int) -> list[int]:
    """Round numbers up to the last epoch, beyond which there is room for labels."""
    step = next(step for power in range(9) for step in (10**power, 2 * 10**power, 5 * 10**power) if longest / step <= 6)
    return list(range(0, longest + 1, step))


def whole_study(groups: Sequence[Group]) -> alt.LayerChart | None:
    """Accuracy over epochs on a log axis: these runs in colour, before the study at its published length in grey.

    The latter was run once and ships with unvanish (`published_length`). `None` where these runs are as long.
    """
    study = published_length()
    names = [group.name for group in groups if group.name in study.accuracy]
    if not names or all(group.recipe.epochs >= study.epochs for group in groups):
        return None
    grey = [
        {"method": name, "epoch": index + 1, "v": short(values[index])}
        for name in names
        for values in [study.accuracy[name]]
        for index in _log_picked(len(values), CURVE_POINTS)
    ]
    longest = max(len(study.accuracy[name]) for name in names)
    heights = spread_apart([study.accuracy[name][-1] for name in names], LABEL / HEIGHT)
    ends = [
        {"method": name, "epoch": len(study.accuracy[name]), "v": height}
        for name, height in zip(names, heights, strict=True)
    ]
    own = [row for group in groups for row in curve_rows(group, "acc")]
    x = alt.X(
        "epoch:Q",
        title="epoch (log scale)",
        scale=alt.Scale(type="log", domain=[1, 2.2 * longest], nice=False),
        axis=alt.Axis(grid=False, values=[1, 3, 10, 30, 100, 300, 900]),
    )
    y = alt.Y("v:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]))
    tips = ["method:N", "epoch:Q", alt.Tooltip("v:Q", title="accuracy, test images")]
    behind = alt.Chart(alt.Data(values=grey)).transform_filter(ONLY_SHOWN)
    behind = behind.mark_line(color="#9a9a9a", strokeWidth=1.2, opacity=0.8)
    behind = behind.encode(x=x, y=y, detail="method:N", tooltip=tips)
    labels = alt.Chart(alt.Data(values=ends)).transform_filter(ONLY_SHOWN).transform_filter(LABELS)
    labels = labels.mark_text(align="left", dx=4, fontSize=10)
    labels = labels.encode(x=x, y=y, text="method:N", color=encoding([group.name for group in groups])["color"])
    front = alt.Chart(alt.Data(values=own)).transform_filter(ONLY_SHOWN).mark_line(strokeWidth=2)
    front = front.encode(x=x, y=y, tooltip=tips, **encoding([group.name for group in groups]))
    return (
        alt.LayerChart(layer=[behind, labels, front])
        .add_params(shown([group.name for group in groups]), labelled())
        .properties(
            height=HEIGHT,
            width="container",
            title=alt.TitleParams(
                "these runs, and in grey the whole study",
                subtitle=[f"{study.epochs} epochs, {study.made}", f"on {study.machine}"],
            ),
            description=f"Accuracy over epochs of these runs, and of the study at its published length, "
            f"{study.epochs} epochs.",
        )
    )


def trainings(group: Group) -> alt.LayerChart:
    """Accuracy over the epochs of a method with stages, each training's beginning marked."""
    rows = curve_rows(group, "acc")
    stages = [int(stage) for stage in group.first.curve["stage"]]
    begins = [index for index, stage in enumerate(stages) if index == 0 or stage != stages[index - 1]]
    marks = [
        {"epoch": index + 1, "training": f"{number}", "says": _of_stage(group, number)}
        for number, index in enumerate(begins, start=1)
    ]
    x = alt.X(
        "epoch:Q",
        title="epoch",
        scale=alt.Scale(domain=[0, len(stages)], nice=False),
        axis=alt.Axis(grid=False, format="d", tickMinStep=1),
    )
    y = alt.Y("v:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]))
    tips = ["epoch:Q", alt.Tooltip("v:Q", title="accuracy, test images")]
    line = alt.Chart(alt.Data(values=rows)).mark_line(strokeWidth=1.8, color=looks([group.name])[0][0])
    line = line.encode(x=x, y=y, detail="method:N", tooltip=tips)
    rules = alt.Chart(alt.Data(values=marks)).mark_rule(strokeDash=[3, 3], color="#8a8a8a")
    rules = rules.encode(x=x, tooltip=["training:N", alt.Tooltip("says:N", title="blocks")])
    words = (
        alt.Chart(alt.Data(values=marks))
        .transform_filter(LABELS)
        .mark_text(align="left", dx=3, dy=8, color="#8a8a8a", fontSize=10)
    )
    words = words.encode(x=x, y=alt.value(0), text="says:N")
    title = alt.TitleParams(
        f"{group.name}: its {len(begins)} trainings", subtitle="dashed: blocks in the network, frozen ones"
    )
    return (
        alt.LayerChart(layer=[rules, line, words])
        .add_params(labelled())
        .properties(
            height=220,
            width="container",
            title=title,
            description=f"Accuracy over the epochs of the {len(begins)} trainings of method {group.name}.",
        )
    )


def _of_stage(group: Group, number: int) -> str:
    stage = group.recipe.stages()[number - 1]
    return f"{stage.depth}" + (f", {stage.frozen} frozen" if stage.frozen else "")


def _log_picked(count: int, most: int) -> list[int]:
    """Indices that are evenly spread on a log axis."""
    return sorted({round(float(at)) - 1 for at in np.geomspace(1, count, most)}) if count else []


def curve_rows(group: Group, quantity: str) -> list[dict[str, Any]]:
    """Means over the seeds, on test (`v`) and training images (`t`), and with several seeds their std (`vs`, `ts`).

    Of an epoch in which a seed diverged, neither.
    """
    length = min((len(record.epochs) for record in group.records), default=0)
    columns = {key: f"{part}_{quantity}" for key, part in (("v", "val"), ("t", "train"))}
    curves = {key: [record.curve[name] for record in group.records] for key, name in columns.items()}
    rows = []
    for index in picked(length, CURVE_POINTS):
        row: dict[str, Any] = {"method": group.name, "epoch": index + 1}
        for key, seeds in curves.items():
            values_S = np.array([curve[index] for curve in seeds])
            with np.errstate(invalid="ignore"):  # of a loss that is infinite
                row[key] = short(values_S.mean())
                row[f"{key}s"] = short(values_S.std(ddof=1)) if len(values_S) > 1 else 0
        rows.append(row)
    return rows


def picked(count: int, most: int) -> list[int]:
    """At most so many indices, evenly spread, both ends among them."""
    return sorted({round(float(at)) for at in np.linspace(0, count - 1, min(count, most))}) if count else []


def short(value: float) -> float | None:
    """Fewer digits in the page; `None` (JSON's null) for what is not a number."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
