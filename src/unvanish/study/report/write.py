"""Where a report goes: HTML, or the tables alone as Markdown, by the name of the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.core.errors import RecipeError
from unvanish.core.output import write_output
from unvanish.study.report.results import Group

if TYPE_CHECKING:
    from unvanish.study.report.figures import AnyFigure


KINDS = (".html", ".htm", ".md")


def check_kind(path: Path) -> None:
    """Raise `RecipeError` for a file whose name says that it is neither a page nor Markdown."""
    if path.suffix.lower() not in KINDS and not path.is_char_device() and not path.is_fifo():
        hint = (
            "; print the page to PDF in a browser, or use --figures with --format pdf" if path.suffix == ".pdf" else ""
        )
        raise RecipeError(f"a report is a page, .html, or Markdown, .md; not '{path.name}'{hint}")


def write_report(groups: Sequence[Group], path: Path, figures: "dict[str, AnyFigure] | None" = None) -> None:
    """Write the report of these runs. Every text in the page is escaped, whatever a recipe says."""
    from unvanish.study.report.figures import all_figures  # Altair is not needed before there is something to draw
    from unvanish.study.report.markdown import markdown
    from unvanish.study.report.page import page

    content = markdown(groups) if path.suffix.lower() == ".md" else page(groups, figures or all_figures(groups))
    write_output(path, content)
