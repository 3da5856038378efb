"""`unvanish reproduce`: the published study."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unvanish.cli.exit import FAILED, exit_codes
from unvanish.cli.options import (
    DEFAULT_STORE,
    FiguresOption,
    FormatOption,
    StoreOption,
    WidthOption,
    check_figures,
    figures_of,
    path_named,
    report_of,
)
from unvanish.core.arguments import MOST

if TYPE_CHECKING:
    from unvanish.core.recipe import Recipe
    from unvanish.store.record import Record
    from unvanish.study.executors.pool import WorkerPool

DEFAULT_EPOCHS = 32

commands = typer.Typer()

MethodsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="METHODS",
        help="Ids (baseline 1a 1b 2 3 4a 4a-affine 4b 5 6 centred-critical) or remedy names; default all.",
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(min=1, max=MOST, metavar="N", help=f"Length; method 6 scales with it. (default: {DEFAULT_EPOCHS})"),
]
JobsOption = Annotated[
    int | None,
    typer.Option(min=1, max=MOST, metavar="N", help="Worker processes, one thread each. (default: one per core)"),
]
ReportOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.html", parser=path_named, help="Where the report goes. (default: DIR/report.html)"),
]
MeasureOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST,
        metavar="N",
        help="Measure the gradient flow on every N-th step; begun runs keep theirs. By default every step where the "
        "native step is taken, else every 10th.",
    ),
]


@commands.command(
    epilog="""Examples:

unvanish reproduce · every method, under 5 minutes on 2 cores

unvanish reproduce 1a 5 --epochs 10 · two methods, briefly

unvanish reproduce skip-connection --seeds 1,2,3 · by remedy, three seeds

unvanish reproduce --published · all 300 epochs (method 6: 900)"""
)
def reproduce(
    methods: MethodsArgument = None,
    epochs: EpochsOption = None,
    published: Annotated[
        bool, typer.Option("--published", help="The full protocol: 300 epochs, method 6: 900.")
    ] = False,
    seeds: Annotated[str, typer.Option(metavar="42,43,…", help="One run of each method for each seed.")] = "42",
    jobs: JobsOption = None,
    store: StoreOption = DEFAULT_STORE,
    report: ReportOption = None,
    figures: FiguresOption = None,
    format: FormatOption = "svg,png",
    width: WidthOption = "640px",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, … (default: cuda where there is one)")] = None,
    measure_every: MeasureOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again what the store has already.")] = False,
    restart_damaged: Annotated[
        bool, typer.Option("--restart-damaged", help="Train from its beginning what the store has damaged.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the report's path.")] = False,
) -> None:
    """Train the published methods, and centred critical weights beside them, on FashionMNIST; write the report.

    Shows live progress on standard error; standard output ends with the report's path, alone.
    Runs that the store has are not trained again. You can stop it at any time: the same command continues.
    """
    if published and epochs is not None:
        raise typer.BadParameter("--published means 300 epochs; leave --epochs out", param_hint="--published")
    from unvanish.core.machine import usable_cores
    from unvanish.study.executors.pool import WorkerPool
    from unvanish.study.names import methods_named, seeds_in
    from unvanish.study.report.write import check_kind

    path = report or report_of(store)
    with exit_codes():
        check_kind(path)
        check_figures(figures, format, width)
        names, runs_of = methods_named(methods or []), seeds_in(seeds)  # a typing error is told before anything starts
    workers = min(jobs or usable_cores(), len(names) * len(runs_of))
    if not quiet:
        typer.echo(f"Starting {workers} worker process{'es' * (workers > 1)}", err=True)
    # The workers start first: they take as long to import torch as this process does.
    with exit_codes(), WorkerPool(workers) as pool:
        from unvanish.cli.terminal import print_results
        from unvanish.study.methods import PUBLISHED_EPOCHS, method
        from unvanish.study.report.results import grouped
        from unvanish.study.report.write import write_report
        from unvanish.train.process import device_named

        where = device_named(device)
        length = PUBLISHED_EPOCHS if published else epochs or DEFAULT_EPOCHS
        recipes = [method(name, epochs=length, seed=seed) for name in names for seed in runs_of]
        targets = [path, *([figures / "accuracy.svg"] if figures else [])]
        options = {
            "device": where,
            "fresh": fresh,
            "restart_damaged": restart_damaged,
            "measure_every": measure_every,
        }
        records = _trained(recipes, store, pool, targets, options, quiet=quiet)
        groups = grouped(records)
        if not quiet:
            print_results(groups)
        write_report(groups, path, figures_of(groups, figures, format, width))
        typer.echo(path)
        if any(record.outcome.state == "failed" for record in records):
            raise typer.Exit(FAILED)


def _trained(
    recipes: "list[Recipe]",
    store: str,
    pool: "WorkerPool",
    targets: list[Path],
    options: dict[str, Any],
    *,
    quiet: bool,
) -> "list[Record]":
    """Train what the store does not have; its records. `targets` are the files that will be written in the end."""
    from unvanish.cli.progress import study_progress
    from unvanish.core.output import check_writable
    from unvanish.data.sources import locate
    from unvanish.store.store import Store
    from unvanish.study.scheduler import train_all

    locate()  # here, once, before any worker asks for it
    with Store.writer(store) as kept:
        for target in targets:
            check_writable(target)  # now, not after hours of training
        with study_progress(recipes, quiet=quiet) as progress:
            train_all(recipes, kept, executor=pool, listen=progress.hear, **options)
        return [kept.record(recipe.digest(), weights=False) for recipe in recipes]
