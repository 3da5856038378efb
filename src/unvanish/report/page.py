"""The report: one HTML file that works offline, with nothing fetched from anywhere."""

import time
from collections.abc import Sequence
from typing import Any

import altair as alt
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unvanish.report.published import comparisons
from unvanish.report.results import COLUMNS, Group, as_factor, attenuation, different_environments, headline, table


def page(groups: Sequence[Group], figures: dict[str, alt.Chart]) -> str:
    """The report as HTML."""
    environment = Environment(
        loader=PackageLoader("unvanish.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        columns=COLUMNS,
        rows=table(groups),
        seeds=sorted({record.recipe.seed for group in groups for record in group.records}),
        epochs=sorted({group.first.recipe.epochs for group in groups}),
        headline=headline(groups),
        specs={name: _without_schema_noise(chart.to_dict()) for name, chart in figures.items()},
        maps=[name for name in figures if name.startswith("gradient-")],
        comparisons=comparisons(list(groups)),
        environments=different_environments(groups),
        methods=_methods(groups),
        made=time.strftime("%Y-%m-%d %H:%M"),
        vega=Markup(_vega()),
    )


def _methods(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """For each method its remedies' reasons, by paragraph; indented ones are formulas."""
    methods = []
    for group in groups:
        reasons = [
            paragraph for remedy in group.first.recipe.remedies for paragraph in type(remedy).reason().split("\n\n")
        ]
        methods.append(
            {
                "name": group.name,
                "title": group.title,
                "changes": group.changes,
                "paragraphs": [(text.startswith("    "), text.strip()) for text in reasons],
                "start": as_factor(attenuation(group.first, 0)),
                "end": as_factor(attenuation(group.first, -1)),
                "last": group.last.format(4) if group.last else "–",
                "seconds": group.seconds,
                "epochs": sum(record.outcome.epochs for record in group.records),
            }
        )
    return methods


def _without_schema_noise(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key != "usermeta"}


def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, so that no browser has to fetch them."""
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    bundle = vl_convert.javascript_bundle(vl_version=version)  # pyright: ignore[reportCallIssue]  (it is optional)
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
