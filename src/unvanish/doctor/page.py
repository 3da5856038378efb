"""A diagnosis as HTML with the flow plot: a fragment for notebooks, or a page. No script, nothing fetched."""

import math
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from unvanish.core.reading import Array, Reading
from unvanish.core.templates import rendered
from unvanish.doctor.checks import ALL
from unvanish.doctor.text import COLUMNS, DECADES, listed, number, rows, verdict

if TYPE_CHECKING:
    from unvanish.doctor.diagnosis import Diagnosis

GREY = "#888"  # reads on white and on black
STYLES = {"forward: what tells inputs apart": "#2f7ebc", "backward: ‖∂loss/∂z‖": "#b3400f"}


def fragment(diagnosis: "Diagnosis") -> str:
    reading = diagnosis.reading
    return rendered(
        "unvanish.doctor",
        "diagnosis.html",
        diagnosis=diagnosis,
        last_word=list(verdict(diagnosis))[-1],
        titles={check.code: check.title for check in ALL},
        columns=COLUMNS,
        rows=list(zip(rows(reading), _widths(reading.backward_norm_L), strict=True)),
        named={layer for finding in diagnosis.findings for layer in finding.layers},
        plot=Markup(flow_plot(reading)) if len(reading) > 1 else "",
        listed=listed,
        number=number,
    )


def page(diagnosis: "Diagnosis") -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{Markup.escape(diagnosis.title)}: diagnosis</title>'
        "<style>body { margin: 0 auto; padding: 1.5rem 1.25rem; max-width: 70rem; }</style></head>\n<body>"
        f"{fragment(diagnosis)}</body></html>\n"
    )


def flow_plot(reading: Reading) -> str:
    """Both signals over depth, each relative to its largest, as SVG."""
    import altair as alt
    import vl_convert

    signals = dict(zip(STYLES, (reading.spread_L, reading.backward_norm_L), strict=True))
    values = [
        {"layer": index + 1, "name": reading.layers[index], "signal": name, "share": share}
        for name, signal_L in signals.items()
        for index, share in enumerate(_shares(signal_L))
        if math.isfinite(share)
    ]
    chart = (
        alt.Chart(alt.Data(values=values))
        .mark_line(point=len(reading) < 60, strokeWidth=1.8)
        .encode(
            x=alt.X("layer:Q", title="layer, from the input to the loss", axis=alt.Axis(grid=False, tickMinStep=1)),
            y=alt.Y("share:Q", title="share of the largest (log)", scale=alt.Scale(type="log")),
            color=alt.Color(
                "signal:N",
                title=None,
                scale=alt.Scale(domain=list(STYLES), range=list(STYLES.values())),
                legend=alt.Legend(orient="top"),
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
