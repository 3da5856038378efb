"""The report: one HTML file that works offline, with nothing fetched from anywhere."""

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from unvanish.core.machine import cache_folder
from unvanish.core.output import write_whole
from unvanish.core.values import counted
from unvanish.data.sources import writable
from unvanish.render.templates import rendered
from unvanish.study.methods import BASELINE
from unvanish.study.report.exports import as_csv, as_latex, bibtex
from unvanish.study.report.formulas import of_remedies
from unvanish.study.report.groups import MOST_SHOWN, Group, file_name, judged_on, recipe_of
from unvanish.study.report.looks import looks
from unvanish.study.report.published import comparisons
from unvanish.study.report.results import COLUMNS, as_factor, different_environments, headline, numbers, table
from unvanish.study.report.section import Section

if TYPE_CHECKING:
    from unvanish.study.report.figures import AnyFigure

TITLE = "Where the gradient dies, and what brings it back"


def page(
    groups: Sequence[Group], figures: "Mapping[str, AnyFigure]", sections: Sequence[Section] = (), title: str = TITLE
) -> str:
    """The report as HTML. Of many methods, without what is shown for each of them; without figures, without Vega."""
    few = len(groups) <= MOST_SHOWN
    recipes = [recipe_of(run) for group in groups for run in group.all_runs]
    return rendered(
        "unvanish.study.report",
        "report.html",
        title=title,
        judged_on=judged_on(groups),
        sections=sections,
        maps=few and bool(groups),
        data=sorted({recipe.data.partition("@")[0] for recipe in recipes}),
        held_out=max((recipe.held_out or 0 for recipe in recipes), default=0),
        columns=COLUMNS,
        rows=list(zip(table(groups), numbers(groups), strict=True)),
        seeds=sorted({recipe.seed for recipe in recipes}),
        epochs=sorted({group.recipe.epochs for group in groups}),
        headline=headline(groups),
        specs={name: _without_schema_noise(chart.to_dict(validate=False)) for name, chart in figures.items()},
        methods=_methods(groups),
        story=_first_choice(groups) if "story-curve" in figures else "",
        trainings=any(group.staged for group in groups),
        downloads=(
            ("results.csv", "text/csv", as_csv(groups)),
            ("results.tex", "application/x-tex", as_latex(groups)),
            ("references.bib", "application/x-bibtex", bibtex()),
        ),
        comparisons=comparisons(list(groups)),
        environments=different_environments(groups),
        reasons=_reasons(groups) if few else [],
        diagnoses=_diagnoses(groups) if few else [],
        made=time.strftime("%Y-%m-%d %H:%M"),
        vega=Markup(_vega()) if figures else "",
    )


def _methods(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """What the page's selector and its script know of each."""
    names = [group.name for group in groups]
    return [
        {
            "name": group.name,
            "title": group.title,
            "file": file_name(group.name),
            "colour": colour,
            "dash": " ".join(map(str, dash)),
            "staged": group.staged,
        }
        for group, (colour, dash) in zip(groups, looks(names), strict=True)
    ]


def _first_choice(groups: Sequence[Group]) -> str:
    """The remedy that the page opens with: the one that gets furthest."""
    return max(
        (group for group in groups if group.name != BASELINE), key=lambda group: group.last.mean if group.last else 0.0
    ).name


def _diagnoses(groups: Sequence[Group]) -> list[tuple[str, Any]]:
    from unvanish.diagnosis.recorded import diagnose_run  # takes its time; a report of many methods has none

    return [(group.name, diagnose_run(group.first)) for group in groups]


def _reasons(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Why the remedies work and where they fail, once for the methods that share them."""
    shared: dict[tuple[type, ...], list[Group]] = {}
    for group in groups:
        shared.setdefault(tuple(type(remedy) for remedy in group.recipe.remedies), []).append(group)
    return [
        {
            "title": members[0].title,
            "methods": [_facts(group) for group in members],
            "formula": of_remedies(members[0].recipe.remedies),
            "paragraphs": [
                (text.startswith("    "), _with_code(text.strip()))
                for remedy in remedies
                for text in remedy.reason().split("\n\n")
            ],
        }
        for remedies, members in shared.items()
    ]


def _facts(group: Group) -> dict[str, str]:
    trained = sum(outcome.epochs for outcome in group.outcomes.values())
    start, end = (as_factor(group.attenuation(step)) for step in (0, -1))
    last = group.last.format(4) if group.last else "–"
    return {
        "name": group.name,
        "file": file_name(group.name),
        "text": f"{group.changes} · backward signal {start} at start, {end} at the end · last accuracy {last} · "
        f"{counted(trained, 'epoch')} in {group.seconds:.0f} s",
    }


def _with_code(text: str) -> Markup:
    """Escaped, and what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _without_schema_noise(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key != "usermeta"}


def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, so that no browser has to fetch them; made once, and kept."""
    import altair as alt

    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    kept = cache_folder("vega") / f"{version}-{metadata.version('vl-convert-python')}.js"
    with suppress(OSError, UnicodeDecodeError):
        script, _, checksum = kept.read_text(encoding="utf-8").rpartition("\n//")
        if hashlib.sha256(script.encode()).hexdigest() == checksum:
            return script
    script = _bundled(version)
    with suppress(OSError), writable(kept.parent):
        write_whole(kept, f"{script}\n//{hashlib.sha256(script.encode()).hexdigest()}".encode())
    return script


def _bundled(version: str) -> str:
    import vl_convert

    bundle = vl_convert.javascript_bundle(vl_version=version)  # pyright: ignore[reportCallIssue]  (it is optional)
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
