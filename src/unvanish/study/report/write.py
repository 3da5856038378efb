"""Where a report goes: HTML, or the tables alone as Markdown, by the name of the file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.core.output import write_output
from unvanish.study.report.groups import MOST_SHOWN, Group
from unvanish.study.report.section import Section
from unvanish.study.report.significance import significance

if TYPE_CHECKING:
    from unvanish.study.report.figures import AnyFigure


def report_figures(groups: Sequence[Group], by: str = "last") -> "dict[str, AnyFigure]":
    """The figures of a report by name. Of many methods there are none, and Altair is not loaded for them."""
    if len(groups) > MOST_SHOWN:
        return {}
    from unvanish.study.report.figures import all_figures

    return all_figures(groups, by)


def write_report(
    groups: Sequence[Group],
    path: Path,
    figures: "Mapping[str, AnyFigure] | None" = None,
    sections: Sequence[Section] | None = None,
    **others: str,
) -> None:
    """Write the report of these runs. Every text in the page is escaped, whatever a recipe says.

    sections   between the results and the gradient; by default what can be told apart
    """
    from unvanish.study.report.markdown import markdown
    from unvanish.study.report.page import page

    if sections is None:
        found = significance(groups)
        sections = [] if found is None else [found]
    if path.suffix.lower() == ".md":
        content = markdown(groups, sections)
    else:
        content = page(groups, report_figures(groups) if figures is None else figures, sections, **others)
    write_output(path, content)
