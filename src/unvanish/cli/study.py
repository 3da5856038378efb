"""`unvanish study`: trainings by the dozen or the thousand, from a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unvanish.cli.engine import Engine, check_engine, device_on, executor_of
from unvanish.cli.exit import FAILED, exit_codes
from unvanish.cli.options import DEFAULT_STORE, AddressOption, EngineOption, StoreOption, path_named, report_of
from unvanish.cli.reproduce import DeviceOption, JobsOption, MeasureOption, QuietOption, RestartOption

if TYPE_CHECKING:
    from unvanish.study.plan.study import Study

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Studies: many trainings from one file, with statistics over seeds.

A study file is TOML: what all trainings share (**base**), what is varied (**axes**), the **seeds**.
Ready-made ones are in the folder *studies* of the repository; `unvanish study settings` lists what can be set.""",
)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE.toml", parser=path_named, help="The study.")]


@commands.command(
    epilog="""Examples:

unvanish study run studies/six_methods.toml --store six

unvanish study run my.toml --dry-run · what it would train"""
)
def run(
    file: FileArgument,
    jobs: JobsOption = None,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = None,
    measure_every: MeasureOption = None,
    restart_damaged: RestartOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained first, and train nothing.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Train what the study wants and the store does not have, and write its report.

    On several machines at once with --store URL: each claims what it trains. On a cluster with --engine ray. You can
    stop it at any time: the same command continues. A file that has grown trains what is new.
    """
    check_engine(engine, address)
    with exit_codes():
        study = _read(file)
        if dry_run:
            from unvanish.cli.study_tables import print_plan

            print_plan(study, store)
            return
        from unvanish.cli.progress import study_progress
        from unvanish.cli.study_tables import print_significance, print_study
        from unvanish.core.output import check_writable
        from unvanish.store.store import Store
        from unvanish.study.conduct import conduct
        from unvanish.study.report.of_study import groups_of, study_path, write_study_report
        from unvanish.train.process import device_named

        where = device_named(device_on(engine, device))
        most = max(1, len(study.cells) * len(study.seeds))
        path = study_path(study, report_of(store))
        with Store.writer(store) as kept:
            check_writable(path)  # now, not after hours of training
            with study_progress([], quiet=quiet) as progress, executor_of(engine, jobs, address, most) as executor:
                known = conduct(
                    study,
                    kept,
                    executor=executor,
                    device=where,
                    restart_damaged=restart_damaged,
                    measure_every=measure_every,
                    listen=progress.hear,
                    hear_of=progress.expect,
                )
            groups = groups_of(study, known)
            if not quiet:
                print_study(study, known)
                print_significance(study, groups)
            write_study_report(study, known, path, groups=groups)
        typer.echo(path)
        failed = [
            digest for digest, one in known.outcomes.items() if one.state == "failed" and digest in progress.recipes
        ]
        if failed or known.left_out:
            raise typer.Exit(FAILED)


@commands.command(epilog="Example:  watch unvanish study status studies/six_methods.toml --store six")
def status(file: FileArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """How far the study is, also while it is being trained: each cell with its runs and its accuracy so far."""
    with exit_codes():
        from unvanish.cli.study_tables import print_study
        from unvanish.store.store import Store
        from unvanish.study.plan.known import InStore

        print_study(_read(file), InStore(Store.reader(store)))


@commands.command(
    epilog="""Examples:

unvanish study report studies/six_methods.toml --store six

unvanish study report studies/six_methods.toml --store six --to six.md · the tables as Markdown"""
)
def report(
    file: FileArgument,
    store: StoreOption = DEFAULT_STORE,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=path_named, help="The file to write: .html, or .md. (default: DIR/NAME.html)"
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", parser=path_named, help="Also write every figure into this folder.")
    ] = None,
    format: Annotated[
        str, typer.Option("--format", metavar="svg,pdf,png", help="File types of the figures, with commas.")
    ] = "svg,png",
    width: Annotated[
        str, typer.Option("--width", metavar="LENGTH", help="Width of a figure's plot: 3.25in, 8.4cm, 640px.")
    ] = "640px",
) -> None:
    """Write the study's report from the store alone, as far as its runs have come."""
    with exit_codes():
        from unvanish.cli.options import check_figures
        from unvanish.store.store import Store
        from unvanish.study.plan.known import InStore
        from unvanish.study.report.kinds import check_kind
        from unvanish.study.report.of_study import study_path, write_study_report

        study = _read(file)
        path = to or study_path(study, report_of(store))
        check_kind(path)
        check_figures(figures, format, width)
        known = InStore(Store.reader(store))
        write_study_report(study, known, path, figures, format, width)
        typer.echo(path)
        if known.left_out:
            raise typer.Exit(FAILED)


@commands.command(
    epilog="""Examples:

unvanish study export studies/six_methods.toml --store six --to runs.parquet

unvanish study export studies/six_methods.toml --store six --curves --to - | head"""
)
def export(
    file: FileArgument,
    to: Annotated[
        Path,
        typer.Option(
            metavar="FILE", parser=path_named, help="The file to write, .csv or .parquet; - is standard output."
        ),
    ],
    curves: Annotated[
        bool, typer.Option("--curves", help="A row for each epoch, in place of one for each run.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the study's runs as a tidy table: a row for each, a column for each setting that is varied."""
    with exit_codes():
        from unvanish.store.store import Store
        from unvanish.study.plan.known import InStore
        from unvanish.study.report.tidy import write_tidy

        study = _read(file)
        known = InStore(Store.reader(store))
        write_tidy(study, known, to, curves=curves)
        if known.left_out:
            raise typer.Exit(FAILED)


@commands.command(epilog="Example:  unvanish study settings")
def settings() -> None:
    """List what a study can set and vary, with the defaults."""
    with exit_codes():
        from unvanish.study.settings import SETTINGS

        for name, meaning in SETTINGS.items():
            typer.echo(f"{name:<20} {meaning}")


def _read(file: Path) -> "Study":
    from unvanish.study.plan.study import Study

    return Study.read(file)
