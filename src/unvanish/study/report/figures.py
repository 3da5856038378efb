"""Every figure once, in Altair: interactive in the page, SVG, PDF and PNG on request."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import altair as alt
from altair.utils.schemapi import debug_mode

from unvanish.core.errors import RecipeError
from unvanish.core.output import write_output
from unvanish.render.charts import drawn, printed, styled
from unvanish.study.report.curves import curves, trainings, whole_study
from unvanish.study.report.groups import MOST_SHOWN, Group, file_name
from unvanish.study.report.intervals import intervals
from unvanish.study.report.maps import colour_bar, gradient_map, overview
from unvanish.study.report.profiles import depth_profile, fraction
from unvanish.study.report.story import story

AnyFigure = alt.Chart | alt.LayerChart
FORMATS = ("svg", "pdf", "png")
UNITS = {"in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4, "pt": 96 / 72, "px": 1.0}  # CSS pixels


def all_figures(groups: Sequence[Group], by: str = "last") -> dict[str, AnyFigure]:
    """Every figure of the report by a name that can be a file's."""
    with debug_mode(False):  # Altair would check each part of each chart again and again; tests check the whole charts
        figures = {"intervals": intervals(groups, by), **_of_each(groups)}
        return {name: styled(chart) for name, chart in figures.items() if chart is not None}


def _of_each(groups: Sequence[Group]) -> dict[str, AnyFigure | None]:
    single = [group for group in groups if not group.staged] or list(groups)
    return {
        **story(groups),
        **{f"gradient-{file_name(group.name)}": gradient_map(group) for group in groups},
        "colour-bar": colour_bar(),
        "depth-start": depth_profile(groups, 0, "at initialisation"),
        "depth-end": depth_profile(groups, -1, "at the end"),
        "accuracy": curves(single, "acc"),
        "loss": curves(single, "loss"),
        "whole-study": whole_study(groups),
        **{f"trainings-{file_name(group.name)}": trainings(group) for group in groups if group.staged},
        "saturated": fraction(single, "saturated", "share of saturated activations"),
        "dead": fraction(single, "dead", "share of dead units"),
    }


def save_figures(
    figures: Mapping[str, AnyFigure],
    groups: Sequence[Group],
    folder: Path,
    formats: Sequence[str] = ("svg", "png"),
    width: str = "640px",
) -> None:
    """Each figure in `folder`, in black on white, and the maps of all methods together as `gradient`."""
    stills = {name: chart.properties(width=pixels(width)) for name, chart in figures.items() if "story" not in name}
    together = {"gradient": overview(groups)} if len(groups) <= MOST_SHOWN and groups else {}
    for name, still in {**stills, **together}.items():
        for suffix in formats:
            options = {"scale_factor": 3} if suffix == "png" else {}
            write_output(folder / f"{name}.{suffix}", drawn(printed(still), suffix, **options))


def pixels(width: str) -> float:
    """CSS pixels of a length with its unit.

    >>> pixels("3.25in"), pixels("640px")
    (312.0, 640.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", width.strip())
    if not found or found[2] not in UNITS or not float(found[1]) > 0:
        raise RecipeError(f"a width is a number with one of the units {', '.join(UNITS)}, as 3.25in; not '{width}'")
    return float(found[1]) * UNITS[found[2]]


def formats_in(words: str) -> tuple[str, ...]:
    """Of a list with commas.

    >>> formats_in("svg,pdf")
    ('svg', 'pdf')
    """
    found = tuple(word.strip().lower() for word in words.split(","))
    wrong = [word for word in found if word not in FORMATS]
    if wrong:
        raise RecipeError(f"'{wrong[0]}' is no format of figures: {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(found))
