"""What can be asked of a store: its runs, one of them, two side by side, files of them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unvanish.cli.choose import EpochsFilter, RunsArgument, SeedFilter, chosen, groups_in, newest, records_of
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
    from unvanish.store.store import Store

commands = typer.Typer()


class Order(StrEnum):
    """By what a list of runs is sorted."""

    started = "started"
    accuracy = "accuracy"
    best = "best"
    epochs = "epochs"
    time = "time"
    method = "method"
    seed = "seed"


@commands.command(
    epilog="""Examples:

unvanish runs --store my-study

unvanish runs skip-connection --state finished --sort accuracy · the best last

unvanish runs --newest 10 --sort accuracy · of the ten newest

unvanish runs --verify · read everything, and compare it with its checksums"""
)
def runs(
    words: RunsArgument = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only finished, unfinished, diverged, failed or damaged ones.")
    ] = None,
    seed: SeedFilter = None,
    epochs: EpochsFilter = None,
    sort: Annotated[Order, typer.Option(help="The largest, or the newest, comes last.")] = Order.started,
    reverse: Annotated[bool, typer.Option("--reverse", help="… comes first.")] = False,
    last: Annotated[
        int | None, typer.Option("--newest", min=1, max=MOST, metavar="N", help="Only the N newest of these.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all that is kept, and say what is damaged: exit code 1 if any is.")
    ] = False,
) -> None:
    """List what the store holds, also while another unvanish is training."""
    with exit_codes():
        from unvanish.cli.runs_table import filtered, in_order, print_runs
        from unvanish.store.store import Store

        kept = Store.reader(store)
        if verify:
            _verify(kept)
            return
        found = filtered(chosen(kept.summaries(), words or []), state, seed, epochs)
        found = sorted(found, key=lambda one: one.begun)[-last:] if last else found
        print_runs(in_order(found, sort, reverse=reverse))


def _verify(kept: "Store") -> None:
    from unvanish.core.output import printable
    from unvanish.core.values import counted
    from unvanish.store.verify import damages

    whole = True
    for sentence in damages(kept):
        typer.echo(printable(sentence))
        whole = False
    if not whole:
        raise typer.Exit(FAILED)
    typer.echo(f"{counted(len(kept.summaries()), 'run')} in {kept}, all as they were written")


@commands.command(epilog="Example:  unvanish show 4a")
def show(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A method's id, or the start of a digest; of several the newest.")
    ],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show one run in full: its recipe, where it ran, its curve and its gradient flow."""
    with exit_codes():
        from unvanish.cli.terminal import print_record
        from unvanish.store.store import Store

        kept = Store.reader(store)
        print_record(kept.record(newest(kept.summaries(), run).digest, weights=False))


@commands.command(
    epilog="""Examples:

unvanish compare baseline 5

unvanish compare 1f2e3d4c 4a"""
)
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A method's id or the start of a digest.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Compare two runs: what their recipes differ in, their curves, and their gradient flow layer by layer."""
    with exit_codes():
        from unvanish.cli.comparison import print_comparison
        from unvanish.store.store import Store

        kept = Store.reader(store)
        summaries = kept.summaries()
        found = [newest(summaries, word).digest for word in (first, second)]
        print_comparison(*(kept.record(digest, weights=False) for digest in found))


@commands.command(
    epilog="""Examples:

unvanish export --to curves.csv

unvanish export 1a 5 --layers --to - | head"""
)
def export(
    to: Annotated[
        Path, typer.Option(metavar="FILE.csv", parser=path_named, help="The file to write; - is standard output.")
    ],
    runs: RunsArgument = None,
    layers: Annotated[bool, typer.Option("--layers", help="The gradient flow, one row per layer and epoch.")] = False,
    epochs: EpochsFilter = None,
    seed: SeedFilter = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the curves as CSV, one row per epoch; epochs count from 1 in each stage.

    The columns run (the start of its digest) and epochs (the length of its recipe) tell runs of one method apart.
    """
    with exit_codes():
        from unvanish.study.report.csv import write_csv

        records, left_out = records_of(store, runs, epochs, seed)
        write_csv(records, to, layers=layers)
        if left_out:
            raise typer.Exit(FAILED)


@commands.command(
    epilog="""Examples:

unvanish report --figures figures --format pdf --width 3.25in · the page, and figures for a paper

unvanish report 4a 5 --to results.md · only these methods, as Markdown tables"""
)
def report(
    runs: RunsArgument = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_named,
            help="The file to write; .md for the tables alone. (default: DIR/report.html)",
        ),
    ] = None,
    figures: FiguresOption = None,
    format: FormatOption = "svg,png",
    width: WidthOption = "640px",
    epochs: EpochsFilter = None,
    seed: SeedFilter = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Rebuild the report from the store alone, also while another unvanish is training."""
    with exit_codes():
        from unvanish.core.errors import StoreError
        from unvanish.store.store import Store
        from unvanish.study.report.kinds import check_kind
        from unvanish.study.report.write import write_report

        path = to or report_of(store)
        check_kind(path)
        check_figures(figures, format, width)
        kept = Store.reader(store)
        groups, left_out = groups_in(kept, chosen(kept.summaries(), runs or []), epochs, seed)
        if not groups:
            raise StoreError(f"{kept} holds no such run with at least one epoch; `unvanish runs` lists what it holds")
        write_report(groups, path, figures_of(groups, figures, format, width))
        typer.echo(path)
        if left_out:
            raise typer.Exit(FAILED)
