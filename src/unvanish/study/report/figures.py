"""Every figure once, in Altair: interactive in the page, SVG and PNG on request."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from unvanish.core.errors import StoreError
from unvanish.render.charts import styled
from unvanish.study.report.published_length import published_length
from unvanish.study.report.results import Group, hidden, recipe_of
from unvanish.study.report.theory import predicted_signal

CURVE_POINTS = 120  # a run: what a chart of 700 pixels can show
MAP_COLUMNS = 60  # a heat map
DIGITS = 4  # significant, in the page's data
AnyFigure = alt.Chart | alt.LayerChart


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
            color=_method_color(groups),
            detail="seed:N",
            opacity=alt.condition(shown, alt.value(1), alt.value(0.08)),
            tooltip=["method:N", "seed:N", "epoch:Q", alt.Tooltip("v:Q", title="validation"), "t:Q"],
        )
        .add_params(which, shown)
        .properties(height=320, width="container")
    )


def gradient_map(group: Group, domain: tuple[float, float]) -> alt.Chart:
    """Layer × epoch: the RMS of the backward signal in log colour, on a scale shared by all methods."""
    values = hidden(group.first, "backward_rms")
    ends = np.cumsum([1] * len(values))
    layers = [str(number + 1) for number in range(values.shape[1])]
    rows = []
    for start, stop in _bins(len(values), MAP_COLUMNS):
        with np.errstate(divide="ignore"):
            logs = np.log10(values[start:stop])
        for index, layer in enumerate(layers):
            seen = logs[:, index][~np.isnan(logs[:, index])]
            if len(seen):
                mean = float(seen.mean())  # a geometric mean; −inf (nothing left) gets the darkest colour
                shown = max(mean, domain[0]) if math.isfinite(mean) else domain[0]
                a, b = int(ends[start]) - 1, int(ends[stop - 1])
                # Each reaches under the next one, or renderers leave a seam between them.
                under = b + 0.2 * (b - a) if stop < len(values) else b
                rows.append({"layer": layer, "a": a, "b": under, "s": _short(shown)})
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_rect()
        .encode(
            x=alt.X("a:Q", title="epoch", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickCount=4)),
            x2="b:Q",
            y=alt.Y("layer:O", title="hidden layer", sort=layers, axis=alt.Axis(grid=False)),
            color=alt.Color(
                "s:Q",
                title="log₁₀ RMS of ∂loss/∂z",
                scale=alt.Scale(domain=list(domain), scheme="inferno", clamp=True),
                legend=alt.Legend(orient="bottom", gradientLength=180, titleLimit=300),
            ),
            tooltip=[
                "layer:O",
                alt.Tooltip("a:Q", title="from epoch"),
                alt.Tooltip("s:Q", title="log₁₀ RMS"),
            ],
        )
        .properties(height=150, width="container", title=alt.TitleParams(group.name, subtitle=group.title))
    )


def map_domain(groups: Sequence[Group]) -> tuple[float, float]:
    """The log₁₀ range of the backward signal over all methods, in whole decades, at most twelve."""
    seen = [hidden(group.first, "backward_rms") for group in groups]
    values = np.concatenate([part[np.isfinite(part) & (part > 0)] for part in seen]) if seen else np.empty(0)
    if not len(values):
        return (-8.0, 0.0)
    low, high = math.floor(np.log10(np.percentile(values, 0.5))), math.ceil(np.log10(values.max()))
    return (float(max(low, high - 12)), float(max(high, low + 1)))


def depth_profile(groups: Sequence[Group], step: int, title: str) -> alt.Chart | alt.LayerChart:
    """The RMS of the backward signal over depth, a line a method, at a measured step (0: init, −1: the end).

    At initialisation with what theory predicts, as crosses, set equal to what was measured at the last hidden layer.
    """
    rows: list[dict[str, Any]] = []
    for group in groups:
        values = hidden(group.first, "backward_rms")
        if len(values):
            rows += [
                {"method": group.name, "layer": layer, "signal": _short(value)}
                for layer, value in enumerate(values[step], start=1)
                if math.isfinite(value) and value > 0
            ]
    encoding: dict[str, Any] = {
        "x": alt.X("layer:Q", title="hidden layer", axis=alt.Axis(grid=False, tickMinStep=1, format="d")),
        "y": alt.Y("signal:Q", title="RMS of ∂loss/∂z", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e")),
        "color": _method_color(groups),
        "tooltip": ["method:N", "layer:Q", "signal:Q"],
    }
    measured = alt.Chart(alt.Data(values=rows)).mark_line(point=alt.OverlayMarkDef(size=25), strokeWidth=1.8)
    measured = measured.encode(**encoding)
    theory = _predicted_rows(groups) if step == 0 else []
    if not theory:
        return measured.properties(height=260, width="container", title=title)
    crosses = alt.Chart(alt.Data(values=theory)).mark_point(shape="cross", size=55, strokeWidth=1.5).encode(**encoding)
    return alt.LayerChart(layer=[measured, crosses]).properties(height=260, width="container", title=title)


def _predicted_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for group in groups:
        signal, measured = predicted_signal(group.recipe), hidden(group.first, "backward_rms")
        if signal and len(measured) and len(signal) == measured.shape[1] and measured[0, -1] > 0:
            rows += [
                {"method": group.name, "layer": layer, "signal": _short(value * measured[0, -1])}
                for layer, value in enumerate(signal, start=1)
            ]
    return rows


def fraction(groups: Sequence[Group], quantity: str, title: str) -> alt.Chart | None:
    """A fraction's mean over the hidden layers along the training; `None` where no method has it."""
    rows: list[dict[str, Any]] = []
    for group in groups:
        values = hidden(group.first, quantity)
        for index in _picked(len(values), CURVE_POINTS):
            seen = values[index][np.isfinite(values[index])]
            if len(seen):
                rows.append({"method": group.name, "epoch": index, "f": _short(float(seen.mean()))})
    if not rows:
        return None
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=1.8)
        .encode(
            x=alt.X("epoch:Q", title="measured epoch", axis=alt.Axis(grid=False)),
            y=alt.Y("f:Q", title="mean over hidden layers", scale=alt.Scale(domain=[0, 1])),
            color=_method_color(groups),
            tooltip=["method:N", "epoch:Q", "f:Q"],
        )
        .properties(height=220, width="container", title=title)
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
        {"method": name, "epoch": index + 1, "v": _short(values[index])}
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
        x=x, y=y, color=_method_color(groups), detail="seed:N", tooltip=tips
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


def all_figures(groups: Sequence[Group]) -> dict[str, AnyFigure]:
    """Every figure of the report by a name that can be a file's."""
    domain = map_domain(groups)
    figures: dict[str, AnyFigure | None] = {
        **{f"gradient-{_file_name(group.name)}": gradient_map(group, domain) for group in groups},
        "depth-start": depth_profile(groups, 0, "at initialisation"),
        "depth-end": depth_profile(groups, -1, "at the end"),
        "accuracy": curves(groups, "acc"),
        "loss": curves(groups, "loss"),
        "whole-study": whole_study(groups),
        **{
            f"trainings-{_file_name(group.name)}": trainings(group)
            for group in groups
            if len(set(group.first.curve["stage"])) > 1
        },
        "saturated": fraction(groups, "saturated", "saturated (activations that are flat at both ends)"),
        "dead": fraction(groups, "dead", "dead units"),
    }
    return {name: styled(chart) for name, chart in figures.items() if chart is not None}


def overview(groups: Sequence[Group]) -> alt.ConcatChart:
    """All gradient maps in one still picture."""
    domain = map_domain(groups)
    maps = [gradient_map(group, domain).properties(width=170, height=110) for group in groups]
    return styled(alt.concat(*maps, columns=5))


def save_figures(figures: dict[str, AnyFigure], groups: Sequence[Group], folder: Path) -> None:
    """Each figure as SVG and PNG in `folder`, and the gradient maps of all methods together."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stills = {name: chart.properties(width=640) for name, chart in figures.items()}
        for name, still in {**stills, "gradient": overview(groups)}.items():
            for suffix, options in (("svg", {}), ("png", {"scale_factor": 2})):
                still.properties(background="white").save(folder / f"{name}.{suffix}", **options)
    except OSError as error:
        raise StoreError(
            f"the figures cannot be written to {folder} ({error.strerror}); name another folder"
        ) from error


def _curve_rows(group: Group, quantity: str) -> list[dict[str, Any]]:
    rows = []
    for record in group.records:
        train, val = record.curve[f"train_{quantity}"], record.curve[f"val_{quantity}"]
        rows += [
            {
                "method": group.name,
                "seed": recipe_of(record).seed,
                "epoch": index + 1,
                "v": _short(val[index]),
                "t": _short(train[index]),
            }
            for index in _picked(len(val), max(20, CURVE_POINTS // len(group.records)))
        ]
    return rows


def _method_color(groups: Sequence[Group]) -> alt.Color:
    names = [group.name for group in groups]
    legend = alt.Legend(orient="bottom", columns=0, symbolType="stroke", title=None)
    return alt.Color("method:N", sort=names, scale=alt.Scale(domain=names, scheme="tableau10"), legend=legend)


def _picked(count: int, most: int) -> list[int]:
    """At most so many indices, evenly spread, both ends among them."""
    return sorted({round(float(at)) for at in np.linspace(0, count - 1, min(count, most))}) if count else []


def _bins(count: int, most: int) -> list[tuple[int, int]]:
    edges = np.unique(np.linspace(0, count, min(count, most) + 1).round().astype(int))
    return [(int(a), int(b)) for a, b in pairwise(edges)]


def _short(value: float) -> float | None:
    """Fewer digits in the page; `None` (JSON's null) for what is not a number."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)
