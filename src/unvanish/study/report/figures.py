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
from unvanish.study.report.curves import CURVE_POINTS, curves, method_color, picked, short, trainings, whole_study
from unvanish.study.report.results import Group, hidden
from unvanish.study.report.theory import predicted_signal

MAP_COLUMNS = 60  # a heat map
AnyFigure = alt.Chart | alt.LayerChart


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
                rows.append({"layer": layer, "a": a, "b": under, "s": short(shown)})
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
                {"method": group.name, "layer": layer, "signal": short(value)}
                for layer, value in enumerate(values[step], start=1)
                if math.isfinite(value) and value > 0
            ]
    encoding: dict[str, Any] = {
        "x": alt.X("layer:Q", title="hidden layer", axis=alt.Axis(grid=False, tickMinStep=1, format="d")),
        "y": alt.Y("signal:Q", title="RMS of ∂loss/∂z", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e")),
        "color": method_color(groups),
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
                {"method": group.name, "layer": layer, "signal": short(value * measured[0, -1])}
                for layer, value in enumerate(signal, start=1)
            ]
    return rows


def fraction(groups: Sequence[Group], quantity: str, title: str) -> alt.Chart | None:
    """A fraction's mean over the hidden layers along the training; `None` where no method has it."""
    rows: list[dict[str, Any]] = []
    for group in groups:
        values = hidden(group.first, quantity)
        for index in picked(len(values), CURVE_POINTS):
            seen = values[index][np.isfinite(values[index])]
            if len(seen):
                rows.append({"method": group.name, "epoch": index, "f": short(float(seen.mean()))})
    if not rows:
        return None
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=1.8)
        .encode(
            x=alt.X("epoch:Q", title="measured epoch", axis=alt.Axis(grid=False)),
            y=alt.Y("f:Q", title="mean over hidden layers", scale=alt.Scale(domain=[0, 1])),
            color=method_color(groups),
            tooltip=["method:N", "epoch:Q", "f:Q"],
        )
        .properties(height=220, width="container", title=title)
    )


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


def _bins(count: int, most: int) -> list[tuple[int, int]]:
    edges = np.unique(np.linspace(0, count, min(count, most) + 1).round().astype(int))
    return [(int(a), int(b)) for a, b in pairwise(edges)]


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)
