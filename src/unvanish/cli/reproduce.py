"""`unvanish reproduce`: the published study."""

from pathlib import Path
from typing import Annotated

import typer

from unvanish.cli.engine import Engine, check_engine, device_on, executor_of
from unvanish.cli.exit import FAILED, exit_codes
from unvanish.cli.options import (
    DEFAULT_STORE,
    AddressOption,
    EngineOption,
    FiguresOption,
    FormatOption,
    StoreOption,
    WidthOption,
    check_figures,
    path_named,
    report_of,
)
from unvanish.core.arguments import MOST

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
    typer.Option(
        min=1,
        max=MOST,
        metavar="N",
        help="Worker processes, one thread each. (default: one per core of the machine or the cluster)",
    ),
]
ReportOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.html", parser=path_named, help="Where the report goes. (default: DIR/report.html)"),
]
OnlyOption = Annotated[
    bool, typer.Option("--only", help="The report shows the runs of this command alone, not all that the store has.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the report's path.")]
RestartOption = Annotated[
    bool, typer.Option("--restart-damaged", help="Train from its beginning what the store has damaged.")
]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, … (default: cuda where there is one)")]
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
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    store: StoreOption = DEFAULT_STORE,
    report: ReportOption = None,
    figures: FiguresOption = None,
    format: FormatOption = "svg,png",
    width: WidthOption = "640px",
    device: DeviceOption = None,
    measure_every: MeasureOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again what the store has already.")] = False,
    restart_damaged: RestartOption = False,
    only: OnlyOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the published methods, and centred critical weights beside them, on FashionMNIST; write the report.

    Shows live progress on standard error; standard output ends with the report's path, alone. The report shows every
    run that the store has.
    Runs that the store has are not trained again. You can stop it at any time: the same command continues.
    """
    if published and epochs is not None:
        raise typer.BadParameter("--published means 300 epochs; leave --epochs out", param_hint="--published")
    check_engine(engine, address)
    from unvanish.study.names import methods_named, seeds_in
    from unvanish.study.report.kinds import check_kind

    path = report or report_of(store)
    with exit_codes():
        check_kind(path)
        check_figures(figures, format, width)
        names, runs_of = methods_named(methods or []), seeds_in(seeds)  # a typing error is told before anything starts
    # The workers start first: they take as long to import torch as this process does.
    with exit_codes(), executor_of(engine, jobs, address, len(names) * len(runs_of)) as executor:
        if not quiet:
            typer.echo(f"Starting {executor.places} worker process{'es' * (executor.places > 1)}", err=True)
        from unvanish.cli.training import Options, train_and_report
        from unvanish.study.methods import PUBLISHED_EPOCHS, method
        from unvanish.train.process import device_named

        where = device_named(device_on(engine, device))
        length = PUBLISHED_EPOCHS if published else epochs or DEFAULT_EPOCHS
        recipes = [method(name, epochs=length, seed=seed) for name in names for seed in runs_of]
        options = Options(
            device=where,
            fresh=fresh,
            restart_damaged=restart_damaged,
            measure_every=measure_every,
            only=only,
            figures=figures,
            format=format,
            width=width,
            quiet=quiet,
        )
        records = train_and_report(recipes, store, executor, path, options)
        typer.echo(path)
        if any(record.outcome.state == "failed" for record in records):
            raise typer.Exit(FAILED)
