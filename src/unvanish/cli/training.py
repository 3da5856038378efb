"""What `reproduce` and `train` share: recipes are trained, and a report is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from unvanish.cli.choose import groups_in
from unvanish.cli.options import figures_of
from unvanish.cli.progress import study_progress
from unvanish.cli.terminal import print_results
from unvanish.core.output import check_writable
from unvanish.core.recipe import Recipe
from unvanish.store.record import Record
from unvanish.store.store import Store
from unvanish.study.executors.protocol import Executor
from unvanish.study.report.groups import grouped
from unvanish.study.report.write import write_report
from unvanish.study.scheduler import train_all
from unvanish.study.training import check_data


@dataclass(frozen=True)
class Options:
    """Of the command line, as `reproduce --help` says them."""

    device: torch.device
    fresh: bool = False
    restart_damaged: bool = False
    measure_every: int | None = None
    only: bool = False
    figures: Path | None = None
    format: str = "svg,png"
    width: str = "640px"
    quiet: bool = False


def train_and_report(
    recipes: Sequence[Recipe], store: str, executor: Executor, path: Path, options: Options
) -> list[Record]:
    """Train what the store does not have, print its results, and write the report of all that the store has.

    Gives the records of these recipes.
    """
    check_data(recipes)
    with Store.writer(store) as kept:
        for target in (path, *([options.figures / "accuracy.svg"] if options.figures else [])):
            check_writable(target)  # now, not after hours of training
        with study_progress(recipes, quiet=options.quiet) as progress:
            train_all(
                recipes,
                kept,
                executor=executor,
                device=options.device,
                fresh=options.fresh,
                restart_damaged=options.restart_damaged,
                measure_every=options.measure_every,
                listen=progress.hear,
            )
        own = [kept.record(recipe.digest(), weights=False) for recipe in recipes]
        groups = grouped(own) if options.only else groups_in(kept, kept.summaries())[0]
    if not options.quiet:
        print_results(grouped(own))
    write_report(groups, path, figures_of(groups, options.figures, options.format, options.width))
    return own
