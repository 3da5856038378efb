"""Findings and tables as HTML with the flow plot: fragments for notebooks, and pages. No script, nothing fetched."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from unvanish.core.finding import Finding
from unvanish.core.table import Array, Table
from unvanish.render.templates import rendered
from unvanish.render.text import COLUMNS, DECADES, evidence, listed, rows

GREY = "#888"  # reads on white and on black
PAGE = (
    ":root { color-scheme: light dark; } body { margin: 0 auto; padding: 1.5rem 1.25rem; max-width: 70rem; "
    "background: light-dark(#fff, #14161a); color: light-dark(#1c1e21, #e7e8ea); } "
    "h1 { font: 600 1.1rem system-ui, sans-serif; }"
)
THEORY = "backward, predicted by theory"
STYLES = {"forward: spread between inputs": "#2f7ebc", "backward: ‖∂loss/∂z‖": "#b3400f"}


def fragment(
    last_word: str,
    findings: Sequence[Finding],
    table: Table,
    notes: Sequence[str] = (),
    *,
    failing: bool,
    changes: Sequence[tuple[str, str]] = (),
    predicted: Mapping[str, float] | None = None,
    described: Mapping[str, str] | None = None,
) -> str:
    """A diagnosis: its last word, its findings, the flow over depth and the table of the layers.

    changes    what to change for the primary finding, in words and as code
    predicted  the backward signal by theory, by layer
    described  type and shape, by layer
    """
    return rendered(
        "unvanish.render",
        "diagnosis.html",
        described=described or {},
        last_word=last_word,
        failing=failing,
        changes=changes,
        primary=next((finding for finding in findings if finding.sure), None),
        findings=findings,
        layers=table.layers,
        notes=notes,
        columns=COLUMNS,
        rows=list(zip(rows(table), _widths(table.row("backward_norm")), strict=True)),
        named={layer for finding in findings for layer in finding.layers},
        plot=Markup(flow_plot(table, predicted)) if len(table) > 1 else "",
        listed=listed,
        evidence=evidence,
    )


def record_fragment(title: str, curve: Mapping[str, Sequence[float]], table: Table) -> str:
    """A run: its last epochs, and what was measured at the end."""
    columns = [name for name in curve if name != "seconds"]
    ends = list(zip(*(curve[name][-5:] for name in columns), strict=True))
    return rendered(
        "unvanish.render",
        "record.html",
        title=title,
        columns=columns,
        rows=[[f"{value:.4g}" for value in row] for row in ends],
        plot=Markup(flow_plot(table)) if len(table) > 1 and table.steps else "",
    )


def repair_fragment(
    last_word: str,
    *,
    repaired: bool,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    curves: Mapping[str, Mapping[int, float]],
    metric: str,
    diagnosis: str,
    after: Table | None = None,
    proof: str = "",
    code: str = "",
    by_hand: Sequence[tuple[str, str]] = (),
    dropped: Sequence[str] = (),
    said: Sequence[str] = (),
) -> str:
    """A repair: its last word, its proof, the change as code, and what was tried.

    curves   by change, the score after so many steps
    after    what was measured of the repaired network before its first step
    """
    return rendered(
        "unvanish.render",
        "repair.html",
        last_word=last_word,
        repaired=repaired,
        proof=proof,
        code=code,
        by_hand=by_hand,
        header=header,
        rows=rows,
        plot=Markup(curve_plot(curves, metric)) if curves else "",
        metric=metric,
        flow=Markup(flow_plot(after)) if after is not None and len(after) > 1 else "",
        dropped=dropped,
        said=said,
        diagnosis=Markup(diagnosis),
    )


def curve_plot(curves: Mapping[str, Mapping[int, float]], metric: str) -> str:
    """Scores over steps, a line a change, as SVG."""
    import altair as alt
    import vl_convert

    from unvanish.render.charts import styled

    values = [
        {"change": name, "steps": steps, "score": score}
        for name, scores in curves.items()
        for steps, score in scores.items()
        if math.isfinite(score)
    ]
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_line(point=True, strokeWidth=1.8)
        .encode(
            x=alt.X("steps:Q", title="steps", axis=alt.Axis(grid=False)),
            y=alt.Y("score:Q", title=metric, scale=alt.Scale(zero=False)),
            color=alt.Color(
                "change:N",
                title=None,
                sort=list(curves),
                legend=alt.Legend(orient="bottom", columns=1, labelLimit=560),
            ),
        )
        .properties(width=600, height=240)
    )
    return vl_convert.vegalite_to_svg(styled(chart).to_dict())


def page(title: str, content: str) -> str:
    """A fragment as a page of its own."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{Markup.escape(title)}</title>'
        f"<style>{PAGE}</style></head>\n<body><main><h1>{Markup.escape(title)}</h1>\n{content}</main></body></html>\n"
    )


def flow_plot(table: Table, predicted: Mapping[str, float] | None = None) -> str:
    """Both signals over depth, each relative to its largest, as SVG; the backward one also by theory, dashed."""
    import altair as alt
    import vl_convert

    signals = dict(zip(STYLES, (table.row("spread"), table.row("backward_norm")), strict=True))
    if predicted:
        signals[THEORY] = _as_measured(table, predicted)
    values = [
        {"layer": index + 1, "name": table.layers[index], "signal": name, "share": share}
        for name, signal_L in signals.items()
        for index, share in enumerate(signal_L if name == THEORY else _shares(signal_L))
        if math.isfinite(share) and share > 0
    ]
    styles = STYLES | ({THEORY: GREY} if predicted else {})
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_line(point=len(table) < 60, strokeWidth=1.8)
        .encode(
            x=alt.X(
                "layer:Q",
                title="layer (# in the table), from the input to the loss",
                axis=alt.Axis(grid=False, tickMinStep=1, format="d"),
            ),
            y=alt.Y("share:Q", title="share of the largest (log)", scale=alt.Scale(type="log")),
            color=alt.Color(
                "signal:N",
                title=None,
                scale=alt.Scale(domain=list(styles), range=list(styles.values())),
                legend=alt.Legend(orient="top"),
            ),
            strokeDash=alt.condition(
                alt.datum.signal == THEORY,
                alt.value([5, 4]),
                alt.value([1, 0]),
            ),
        )
        .properties(width=640, height=220)
        .configure(background="transparent")
        .configure_axis(
            labelColor=GREY, titleColor=GREY, gridColor=GREY, gridOpacity=0.25, domainColor=GREY, tickColor=GREY
        )
        .configure_legend(labelColor=GREY)
        .configure_view(stroke=None)
    )
    return vl_convert.vegalite_to_svg(chart.to_dict())


def _as_measured(table: Table, predicted: Mapping[str, float]) -> Array:
    """The predicted signal on the measured one's scale: theory gives an RMS, so it is set equal at the last layer."""
    measured = table.row("backward_rms")
    largest = table.row("backward_norm")
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = largest / largest[np.isfinite(largest)].max(initial=0.0)
        ratio = shares / measured
    values = np.array([predicted.get(layer, math.nan) for layer in table.layers])
    last = max((index for index in range(len(table)) if np.isfinite(values[index])), default=0)
    with np.errstate(invalid="ignore"):
        return values * measured[last] * ratio


def _shares(signal_L: Array) -> Array:
    """Relative to the largest; what is 0 has no place on a log scale and becomes NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares_L = signal_L / signal_L[np.isfinite(signal_L)].max(initial=0.0)
    return np.where(np.isfinite(shares_L) & (shares_L > 0), shares_L, np.nan)


def _widths(signal_L: Array) -> list[int]:
    """Bars in percent, on the log scale of the text's bars."""
    return [
        0 if math.isnan(share) else round(100 * max(0.0, 1 + math.log10(share) / DECADES))
        for share in _shares(signal_L)
    ]
