"""What several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STORE = Path("unvanish-runs")

StoreOption = Annotated[Path, typer.Option("--store", metavar="DIR", help="The folder that keeps the runs.")]


def save_figures(groups: list, folder: Path | None) -> dict:
    from unvanish.study.report.figures import all_figures, save_figures

    charts = all_figures(groups)
    if folder is not None:
        save_figures(charts, groups, folder)
    return charts
