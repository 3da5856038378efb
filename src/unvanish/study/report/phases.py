"""Depth × σ_w²: where networks train, with theory's depth scale over it.

(Schoenholz et al. 2017, figure 5: networks of up to about 6 ξ_c layers are trained.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import altair as alt
import numpy as np

from unvanish.core.recipe import Recipe
from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import Known, accuracies
from unvanish.study.plan.study import Study
from unvanish.study.plan.trained import chance, trained_from
from unvanish.study.report.depths import mean_field_of
from unvanish.study.report.section import Section, Table
from unvanish.theory import MeanField

AXES = ("depth", "weight_var")
FINE = 400  # points of theory's line
FIGURE = "phase-diagram"


@dataclass(frozen=True)
class Point:
    """accuracy  the mean over the seeds"""

    depth: int
    weight_var: float
    accuracy: float
    recipe: Recipe


def points(study: Study, known: Known) -> list[Point]:
    """Those that are known, of a study that varies both and nothing else; none of any other."""
    if not all(set(cell.varied) == set(AXES) for cell in study.cells) or len(study.cells) < 4:
        return []
    found = [(cell, accuracies(known, study.recipes(cell), study.compare.by)) for cell in study.cells]
    return [_point(study, cell, values) for cell, values in found if values]


def _point(study: Study, cell: Cell, values: Sequence[float]) -> Point:
    depth, weight_var = (cell.settings[name] for name in AXES)
    return Point(depth, weight_var, sum(values) / len(values), study.recipes(cell)[0])


def section(found: Sequence[Point]) -> Section:
    """How deep the networks of each σ_w² were that trained, beside theory."""
    rows, least = [], trained_from(found[0].recipe)
    for weight_var in sorted({point.weight_var for point in found}):
        column = sorted((p for p in found if p.weight_var == weight_var), key=lambda p: p.depth)
        field = mean_field_of(column[0].recipe)
        trained = [p.depth for p in column if p.accuracy >= least]
        failed = [p.depth for p in column if p.accuracy < least and p.depth > max(trained, default=0)]
        rows.append(
            (
                f"{weight_var:g}",
                "–" if field is None else field.phase,
                "–" if field is None else f"{field.xi_c:.1f}",
                "–" if field is None else f"{field.trainable_depth:.0f}",
                str(max(trained)) if trained else "none",
                str(min(failed)) if failed else "none",
            )
        )
    columns = ("σ_w²", "phase", "ξ_c", "6 ξ_c", "deepest that trained", "next deeper, which did not")
    sentence = (
        "Each square is one combination of depth and variance of the weights; its colour is the accuracy after "
        "training. The line is 6 ξ_c of mean-field theory: beyond about that depth two images become alike (ordered "
        "phase) or unlike whatever they show (chaotic phase) before they reach the output (Schoenholz et al. 2017). A "
        f"depth counts as trained from an accuracy of {least:.3g} on."
    )
    return Section(
        "phases", "Which depths train", [sentence], [Table("Measured beside theory", columns, rows)], [FIGURE]
    )


def figure(found: Sequence[Point]) -> alt.LayerChart:
    depths, variances = (sorted({getattr(point, name) for point in found}) for name in AXES)
    tall, wide = _edges(depths), _edges(variances)
    squares = [
        {
            "x": wide[p.weight_var][0],
            "x2": wide[p.weight_var][1],
            "y": tall[p.depth][0],
            "y2": tall[p.depth][1],
            "accuracy": round(p.accuracy, 4),
            "depth": p.depth,
            "weight_var": p.weight_var,
        }
        for p in found
    ]
    low, high = min(one["x"] for one in squares), max(one["x2"] for one in squares)
    top = max(one["y2"] for one in squares)
    x = alt.X("x:Q", title="σ_w²", scale=alt.Scale(domain=[low, high], nice=False))
    y = alt.Y("y:Q", title="depth, hidden layers", scale=alt.Scale(domain=[0, top], nice=False))
    tips = ["depth:Q", alt.Tooltip("weight_var:Q", title="σ_w²"), "accuracy:Q"]
    worst = chance(found[0].recipe)
    scale = alt.Scale(scheme="inferno", domain=[worst, max(2 * worst, max(p.accuracy for p in found))], clamp=True)
    rects = alt.Chart(alt.Data(values=squares)).mark_rect(stroke=None)
    rects = rects.encode(
        x=x, x2="x2:Q", y=y, y2="y2:Q", tooltip=tips,
        color=alt.Color("accuracy:Q", scale=scale, title="accuracy"),
    )  # fmt: skip
    layers: list[alt.Chart] = [rects]
    field = mean_field_of(found[0].recipe)
    if field is not None:
        line = alt.Chart(alt.Data(values=_theory(field, low, high, top)))
        line = line.mark_line(color="#56b4e9", strokeWidth=2.5, strokeDash=[7, 3], clip=True)
        layers.append(line.encode(x=x, y=y, detail="side:N"))
    return alt.LayerChart(layer=layers).properties(
        height=360,
        width="container",
        title=alt.TitleParams("accuracy after training", subtitle="dashed: 6 ξ_c, how deep theory says it can be"),
        description="Accuracy by depth and variance of the weights, with the depth scale of mean-field theory.",
    )


def _theory(field: MeanField, low: float, high: float, top: float) -> list[dict[str, float | str]]:
    """The line 6 ξ_c up to the top of the figure, on each side of the critical line."""
    rows: list[dict[str, float | str]] = []
    for weight_var in np.linspace(max(low, 1e-3), high, FINE):
        there = MeanField(field.activation, float(weight_var), field.bias_var)
        depth = there.trainable_depth
        if math.isfinite(depth):
            rows.append({"x": float(weight_var), "y": min(depth, 2 * top), "side": there.phase})
    return rows


def _edges(values: Sequence[float]) -> dict[float, tuple[float, float]]:
    """Of the square around each value: half way to its neighbours."""
    middles = [(a + b) / 2 for a, b in pairwise(values)]
    first, last = values[0] - (middles[0] - values[0]), values[-1] + (values[-1] - middles[-1])
    edges = [first, *middles, last]
    return {value: (edges[i], edges[i + 1]) for i, value in enumerate(values)}
