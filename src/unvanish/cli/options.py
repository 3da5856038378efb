"""What several commands share."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unvanish.cli.engine import Engine
from unvanish.core.arguments import a_path
from unvanish.core.errors import RecipeError, StoreError
from unvanish.store.place import is_url

if TYPE_CHECKING:
    from unvanish.study.report.figures import AnyFigure
    from unvanish.study.report.groups import Group

DEFAULT_STORE = "unvanish-runs"


def path_named(text: str) -> Path:
    """A path that can be one; the root of the file system is refused."""
    try:
        path = a_path("a path", text)
    except RecipeError as error:
        raise typer.BadParameter(str(error)) from error
    if path.absolute() == Path(path.absolute().anchor):
        raise typer.BadParameter("the root of the file system is no place for files; name a folder or file in it")
    return path


def store_named(text: str) -> str:
    """A folder, or the URL of a database of PostgreSQL."""
    try:
        return text if is_url(text) else str(path_named(text))
    except StoreError as error:
        raise typer.BadParameter(str(error)) from error


def report_of(store: str) -> Path:
    """Where its report is written unless another place is named: in its folder; of a database, in the current one."""
    return Path("report.html") if is_url(store) else Path(store) / "report.html"


def standard_deviation(text: str | float) -> float:
    """A standard deviation: at least 0, not NaN, which a range lets through, and with squares that do not overflow."""
    try:
        value = float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number") from None
    if not 0 <= value <= LARGEST_STD:
        raise typer.BadParameter(f"a number from 0 to {LARGEST_STD:g}, not {text}")
    return value


StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="DIR",
        parser=store_named,
        help="The folder that keeps the runs, or the URL of a database: postgresql+psycopg://user@host/database.",
    ),
]
EngineOption = Annotated[
    Engine, typer.Option("--engine", help="Where to train: on this machine, or on the nodes of a Ray cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Of the Ray cluster. (default: the one of this machine)"),
]
LARGEST_STD = 1e6
SeedOption = Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="Seed of torch's random numbers.")]
FiguresOption = Annotated[
    Path | None, typer.Option(metavar="DIR", parser=path_named, help="Also write every figure into this folder.")
]
FormatOption = Annotated[
    str, typer.Option("--format", metavar="svg,pdf,png", help="File types of the figures, with commas.")
]
WidthOption = Annotated[
    str, typer.Option("--width", metavar="LENGTH", help="Width of a figure's plot: 3.25in, 8.4cm, 640px.")
]


def figures_of(groups: "Sequence[Group]", folder: Path | None, formats: str, width: str) -> "dict[str, AnyFigure]":
    """The figures of the report, which are also written where a folder is given."""
    from unvanish.study.report.write import report_figures

    charts = report_figures(groups)
    if folder is not None:
        from unvanish.study.report.figures import formats_in, save_figures

        save_figures(charts, groups, folder, formats_in(formats), width)
    return charts


def check_figures(folder: Path | None, formats: str, width: str) -> None:
    """Raise `RecipeError` where these are no formats or no length: before anything is trained."""
    if folder is not None:
        from unvanish.study.report.figures import formats_in, pixels

        formats_in(formats)
        pixels(width)


def in_colour() -> bool:
    """Whether standard output is a terminal that wants colour: https://no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
