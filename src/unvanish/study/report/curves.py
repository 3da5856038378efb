"""Accuracy and loss over epochs: of these runs, beside the whole study, and of a method in several trainings."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from unvanish.study.report.published_length import published_length
from unvanish.study.report.results import Group, recipe_of

CURVE_POINTS = 120  # a run: what a chart of 700 pixels can show
DIGITS = 4  # significant, in the page's data


def curves(groups: Sequence[Group], quantity: str) -> alt.Chart:
    """`quantity` ("acc" or "loss") over epochs, a line a method; a click on the legend shows or hides one."""
    rows = [row for group in groups for row in _curve_rows(group, quantity)]
    which = alt.param(
        name=f"which_{quantity}",
        value="validation",
        bind=alt.binding_radio(options=["validation", "training"], name="images: "),
    )
    shown = alt.selection_point(name=f"shown_{quantity}", fields=["method"], bind="legend", toggle="true")
    title = "accuracy" if quantity == "acc" else "loss (log)"
    scale = alt.Scale(domain=[0, 1]) if quantity == "acc" else alt.Scale(type="log")
    return (
        alt.Chart(alt.Data(values=rows))
        .transform_calculate(y=f"which_{quantity} == 'training' ? datum.t : datum.v")
        .mark_line(clip=True, strokeWidth=1.8)
        .encode(
            x=alt.X("epoch:Q", title="epoch (all stages together)", axis=alt.Axis(grid=False)),
            y=alt.Y("y:Q", title=title, scale=scale),
            color=method_color(groups),
            detail="seed:N",
            opacity=alt.condition(shown, alt.value(1), alt.value(0.08)),
            tooltip=["method:N", "seed:N", "epoch:Q", alt.Tooltip("v:Q", title="validation"), "t:Q"],
        )
        .add_params(which, shown)
        .properties(height=320, width="container")
    )


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
    ends = [{"method": name, "epoch": len(study.accuracy[name]), "v": study.accuracy[name][-1]} for name in names]
    own = [row for group in groups for row in _curve_rows(group, "acc")]
    x = alt.X(
        "epoch:Q",
        title="epoch (log; all stages together)",
        scale=alt.Scale(type="log", domain=[1, 1.35 * max(map(len, study.accuracy.values()))], nice=False),
        axis=alt.Axis(grid=False, values=[1, 3, 10, 30, 100, 300, 900]),
    )
    y = alt.Y("v:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]))
    tips = ["method:N", "epoch:Q", "v:Q"]
    behind = alt.Chart(alt.Data(values=grey)).mark_line(color="#9a9a9a", strokeWidth=1.2, opacity=0.8)
    behind = behind.encode(x=x, y=y, detail="method:N", tooltip=tips)
    labels = alt.Chart(alt.Data(values=ends)).mark_text(align="left", dx=4, color="#8a8a8a", fontSize=10)
    labels = labels.encode(x=x, y=y, text="method:N")
    front = alt.Chart(alt.Data(values=own)).mark_line(strokeWidth=2).encode(
        x=x, y=y, color=method_color(groups), detail="seed:N", tooltip=tips
    )  # fmt: skip
    return alt.LayerChart(layer=[behind, labels, front]).properties(
        height=340,
        width="container",
        title=alt.TitleParams(
            "behind it, in grey, the whole study", subtitle=f"{study.epochs} epochs, {study.made} on {study.machine}"
        ),
    )


def trainings(group: Group) -> alt.LayerChart:
    """Accuracy over the epochs of a method with stages, each training's beginning marked."""
    rows = _curve_rows(group, "acc")
    stages = [int(stage) for stage in group.first.curve["stage"]]
    begins = [index for index, stage in enumerate(stages) if index == 0 or stage != stages[index - 1]]
    marks = [
        {"epoch": index + 1, "training": f"{number}", "says": _of_stage(group, number)}
        for number, index in enumerate(begins, start=1)
    ]
    x = alt.X("epoch:Q", title="epoch (all trainings together)", axis=alt.Axis(grid=False))
    y = alt.Y("v:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]))
    line = alt.Chart(alt.Data(values=rows)).mark_line(strokeWidth=1.8).encode(x=x, y=y, detail="seed:N")
    rules = alt.Chart(alt.Data(values=marks)).mark_rule(strokeDash=[3, 3], color="#8a8a8a")
    rules = rules.encode(x=x, tooltip=["training:N", "says:N"])
    words = alt.Chart(alt.Data(values=marks)).mark_text(align="left", dx=3, dy=8, color="#8a8a8a", fontSize=10)
    words = words.encode(x=x, y=alt.value(0), text="says:N")
    title = alt.TitleParams(
        f"{group.name}: its {len(begins)} trainings", subtitle="blocks in the network, and frozen ones"
    )
    return alt.LayerChart(layer=[rules, line, words]).properties(height=220, width="container", title=title)


def _of_stage(group: Group, number: int) -> str:
    stage = group.recipe.uninitialised().stages[number - 1]
    return f"{stage.depth}" + (f", {stage.frozen} frozen" if stage.frozen else "")


def _log_picked(count: int, most: int) -> list[int]:
    """Indices that are evenly spread on a log axis."""
    return sorted({round(float(at)) - 1 for at in np.geomspace(1, count, most)}) if count else []


def _curve_rows(group: Group, quantity: str) -> list[dict[str, Any]]:
    rows = []
    for record in group.records:
        train, val = record.curve[f"train_{quantity}"], record.curve[f"val_{quantity}"]
        rows += [
            {
                "method": group.name,
                "seed": recipe_of(record).seed,
                "epoch": index + 1,
                "v": short(val[index]),
                "t": short(train[index]),
            }
            for index in picked(len(val), max(20, CURVE_POINTS // len(group.records)))
        ]
    return rows


def method_color(groups: Sequence[Group]) -> alt.Color:
    names = [group.name for group in groups]
    legend = alt.Legend(orient="bottom", columns=0, symbolType="stroke", title=None)
    return alt.Color("method:N", sort=names, scale=alt.Scale(domain=names, scheme="tableau10"), legend=legend)


def picked(count: int, most: int) -> list[int]:
    """At most so many indices, evenly spread, both ends among them."""
    return sorted({round(float(at)) for at in np.linspace(0, count - 1, min(count, most))}) if count else []


def short(value: float) -> float | None:
    """Fewer digits in the page; `None` (JSON's null) for what is not a number."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
