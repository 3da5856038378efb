"""The two pictures of each method in docs/methods/: its accuracy, and its backward signal before the first step.

python benchmarks/method_figures.py --to docs/images/methods

The accuracy is that of the whole study at its published length, which ships with unvanish. The backward signal is
measured here, in the published setup of each method (seed 42, its first batch).
"""

import argparse
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

import unvanish as uv
from unvanish.render.charts import GREY, styled
from unvanish.study.report.published_length import published_length

POINTS = 110  # a curve: what a picture of 270 pixels can show
SIZE = {"width": 270, "height": 190}
# Okabe & Ito 2008, without the yellow, which is lost on white; two more; the baseline in grey
COLOURS = [GREY, "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#9467bd"]


@dataclass(frozen=True)
class Picture:
    """name: of the files; methods: beside the baseline."""

    name: str
    methods: tuple[str, ...]


PICTURES = (
    Picture("weight-increasing", ("1a", "1b")),
    Picture("better-activation", ("2",)),
    Picture("better-optimizer", ("3",)),
    Picture("normalize-inside", ("4a", "4a-affine", "4b")),
    Picture("skip-connection", ("5",)),
    Picture("train-some-layers", ("6",)),
    Picture("centred-critical", ("centred-critical",)),
    Picture("all", ("1a", "2", "3", "4a", "4b", "5", "6", "centred-critical")),
)


def accuracy(methods: tuple[str, ...]) -> alt.Chart:
    found, many = published_length().accuracy, len(methods) > 5
    rows = [
        {"method": name, "epoch": index + 1, "v": found[name][index]}
        for name in methods
        for index in picked(len(found[name]), log=many)
    ]
    scale = alt.Scale(type="log" if many else "linear", nice=False)
    axis = alt.Axis(grid=False, values=[1, 3, 10, 30, 100, 300, 900]) if many else alt.Axis(grid=False, tickCount=6)
    x = alt.X("epoch:Q", title="epoch", scale=scale, axis=axis)
    y = alt.Y("v:Q", title="test accuracy", scale=alt.Scale(domain=[0, 1]))
    return alt.Chart(alt.Data(values=rows)).mark_line().encode(x=x, y=y, **looks(methods))


def picked(count: int, *, log: bool) -> list[int]:
    """Indices that are evenly spread on the axis, both ends among them."""
    spread = np.geomspace(1, count, POINTS) if log else np.linspace(1, count, POINTS)
    return sorted({round(float(at)) - 1 for at in spread})


def signal(methods: tuple[str, ...]) -> alt.Chart:
    rows = [
        {"method": name, "layer": layer, "v": float(f"{value:.4g}")}
        for name in methods
        for layer, value in enumerate(shares(name), start=1)
    ]
    x = alt.X("layer:Q", title="hidden layer", axis=alt.Axis(grid=False, values=list(range(1, 8))))
    y = alt.Y("v:Q", title="relative backward signal",
              scale=alt.Scale(type="log"), axis=alt.Axis(format="~e", tickCount=6, titlePadding=14))  # fmt: skip
    line = alt.MarkDef(type="line", point=alt.OverlayMarkDef(size=40))
    return alt.Chart(alt.Data(values=rows), mark=line).encode(x=x, y=y, **looks(methods))


@cache
def shares(method: str) -> list[float]:
    """RMS of ∂loss/∂z at each hidden layer, of that at the last in the network, before any step."""
    series = uv.run(uv.method(method), epochs=1, measure_every=1, progress=False).series["backward_rms"]
    start = series.values[0, :7]  # the eighth is the output
    there = start[start == start]  # in the first training of method 6 there are two
    return [float(value / there[-1]) for value in there]


def looks(methods: tuple[str, ...]) -> dict[str, Any]:
    """A colour a method; the baseline is a wide grey line, so that a method that equals it is still seen."""
    scale = alt.Scale(domain=list(methods), range=COLOURS[: len(methods)])
    legend = alt.Legend(orient="bottom", columns=4)
    return {
        "color": alt.Color("method:N", title=None, sort=list(methods), scale=scale, legend=legend),
        "strokeWidth": alt.condition("datum.method == 'baseline'", alt.value(5), alt.value(2)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    folder: Path = parser.parse_args().to
    folder.mkdir(parents=True, exist_ok=True)
    for one in PICTURES:
        methods = ("baseline", *one.methods)
        for kind, draw in (("accuracy", accuracy), ("signal", signal)):
            file = folder / f"{one.name}-{kind}.svg"
            styled(draw(methods).properties(**SIZE)).save(file)
            print(f"{file}  {file.stat().st_size / 1000:.1f} kB")
        print({name: [f"{value:.3g}" for value in shares(name)] for name in one.methods})


if __name__ == "__main__":
    main()
