"""Charts of Altair's that read on white and on black."""
# S steps, L layers

import io
from collections.abc import Sequence
from typing import Any, TypeVar

import altair as alt
import numpy as np

AnyChart = TypeVar("AnyChart", bound=alt.Chart | alt.ConcatChart | alt.LayerChart)

GREY = "#888"  # reads on white and on black
LINES = 40  # steps: more would lie on each other


def styled(chart: AnyChart) -> AnyChart:
    """Without a background, in greys that read on white and on black."""
    return (
        chart.configure(background="transparent", font="system-ui, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(domainColor=GREY, tickColor=GREY, gridColor="#8883", labelColor=GREY, titleColor=GREY)
        .configure_legend(labelColor=GREY, titleColor=GREY, labelLimit=220)
        .configure_title(color=GREY, subtitleColor=GREY, anchor="start", fontSize=13)
    )


def printed(chart: AnyChart) -> AnyChart:
    """For paper: black text in one font, on white."""
    return (
        chart.configure(background="white", font="Liberation Sans, Arial, Helvetica, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            domainColor="black", tickColor="black", gridColor="#ddd", labelColor="black", titleColor="black"
        )
        .configure_legend(labelColor="black", titleColor="black")
        .configure_title(color="black", subtitleColor="black", anchor="start", fontSize=12)
    )


def chart_of_series(
    name: str, unit: str, layers: Sequence[str], steps: Sequence[Any], values_SL: np.ndarray, *, log: bool
) -> alt.Chart:
    """A quantity over depth, a line per step."""
    picked = (
        sorted({round(float(at)) for at in np.linspace(0, len(steps) - 1, min(len(steps), LINES))}) if steps else []
    )
    rows = [
        {"layer": index + 1, "name": layer, "step": str(steps[s]), "place": s, "value": float(values_SL[s, index])}
        for s in picked
        for index, layer in enumerate(layers)
        if np.isfinite(values_SL[s, index]) and (values_SL[s, index] > 0 or not log)
    ]
    chart = (
        alt.Chart(alt.Data(values=rows), title=name)
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("layer:Q", title="layer, from the input to the output", axis=alt.Axis(grid=False, tickMinStep=1)),
            y=alt.Y("value:Q", title=unit, scale=alt.Scale(type="log" if log else "linear")),
            color=alt.Color("place:Q", title="measured step", scale=alt.Scale(scheme="viridis")),
            detail="place:Q",
            tooltip=["name:N", "step:N", "value:Q"],
        )
        .properties(width=560, height=260)
    )
    return styled(chart)


def drawn(chart: Any, kind: str, **options: Any) -> str | bytes:
    """The content of a file of that kind: svg, png, pdf or json."""
    file = io.StringIO() if kind in ("svg", "json") else io.BytesIO()
    chart.save(file, format=kind, **options)
    return file.getvalue()
