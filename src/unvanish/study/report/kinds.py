"""What a report can be, by the name of its file: known without importing anything heavy."""

from pathlib import Path

from unvanish.core.errors import RecipeError

KINDS = (".html", ".htm", ".md")


def check_kind(path: Path) -> None:
    """Raise `RecipeError` for a file whose name says that it is neither a page nor Markdown."""
    if path.suffix.lower() not in KINDS and not path.is_char_device() and not path.is_fifo():
        hint = (
            "; print the page to PDF in a browser, or use --figures with --format pdf" if path.suffix == ".pdf" else ""
        )
        raise RecipeError(f"a report is a page, .html, or Markdown, .md; not '{path.name}'{hint}")
