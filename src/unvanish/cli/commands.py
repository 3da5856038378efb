"""The command line: parse, call, print. Heavy imports wait until a command needs them."""

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unvanish.cli.diagnosis import commands as diagnosis_commands
from unvanish.cli.exit import FAILED, OK, end_as_ctrl_c_does, exit_codes
from unvanish.cli.lessons import commands as lessons_commands
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
from unvanish.cli.repair import commands as repair_commands
from unvanish.cli.reproduce import commands as reproduce_commands
from unvanish.cli.theory import commands as theory_commands

if TYPE_CHECKING:
    from unvanish.store.protocol import Summary
    from unvanish.store.record import Record

HELP = ["-h", "--help"]

app = typer.Typer(
    name="unvanish",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": HELP},
    help="""See where the gradient dies in a deep network, learn why, fix it, and prove that the fix worked.

Start with **unvanish reproduce**: six classic remedies for vanishing gradients on FashionMNIST.

Or with **unvanish check**: what is wrong with a network of your own, and **unvanish repair**: a
change that makes it learn, with its proof.""",
    epilog="Exit codes: 0 done · 1 a run failed, or a network is failing · 2 wrong usage · 130 interrupted · "
    "143 terminated.",
)

of_stores = typer.Typer()

RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUNS", help="Method ids, remedy names or the start of digests; default all."),
]


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        from unvanish.train.native.library import missing

        typer.echo(f"unvanish {version('unvanish')}")
        reason = missing()
        typer.echo(f"native step: {f'none ({reason}); training takes the plain step' if reason else 'compiled'}")
        raise typer.Exit(OK)


@app.callback()
def options(
    asked: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version, and whether the native step is there.",
        ),
    ] = False,
) -> None:
    pass


app.add_typer(reproduce_commands)
app.add_typer(diagnosis_commands)
app.add_typer(repair_commands)
app.add_typer(theory_commands)
app.add_typer(lessons_commands)


def main() -> None:
    """The entry point."""
    end_as_ctrl_c_does()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: `>&-`
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (until the process ends)
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the terminal's encoding has not is written as its code
        sys.stdout.reconfigure(errors="backslashreplace")
    command = typer.main.get_command(app)
    _without_types_of_flags(command)
    try:
        with exit_codes():
            command(prog_name="unvanish")
    except typer.Exit as ended:  # of help that cannot be written
        sys.exit(ended.exit_code)


def _without_types_of_flags(command: Any) -> None:
    """A flag takes no value, and the help shall not show one."""
    for parameter in command.get_params(typer.Context(command, help_option_names=HELP)):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for one in getattr(command, "commands", {}).values():
        _without_types_of_flags(one)


@of_stores.command(
    epilog="""Examples:

unvanish runs --store my-study

unvanish runs --verify · read everything, and compare it with its checksums"""
)
def runs(
    store: StoreOption = DEFAULT_STORE,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all that is kept, and say what is damaged: exit code 1 if any is.")
    ] = False,
) -> None:
    """List what the store holds, also while another unvanish is training."""
    with exit_codes():
        from unvanish.cli.terminal import print_runs
        from unvanish.store.store import Store

        kept = Store.reader(store)
        if not verify:
            print_runs(kept.summaries())
            return
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


@of_stores.command(epilog="Example:  unvanish show 4a")
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The start of a run's digest, or a method's id.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show one run in full: its recipe, where it ran, its curve and its gradient flow."""
    with exit_codes():
        from unvanish.cli.terminal import print_record, run_name
        from unvanish.core.errors import StoreError
        from unvanish.store.store import Store

        kept = Store.reader(store)
        found = _chosen(kept.summaries(), [run])
        if len(found) > 1:
            names = "; ".join(run_name(summary) for summary in found)
            raise StoreError(f"'{run}' stands for {len(found)} runs, name one by its digest: {names}")
        print_record(kept.record(found[0].digest, weights=False))


@of_stores.command(
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
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Only runs of this length.")] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the curves as CSV, one row per epoch; epochs count from 1 in each stage."""
    with exit_codes():
        from unvanish.study.report.csv import write_csv

        records, left_out = _records(store, runs, epochs)
        write_csv(records, to, layers=layers)
        if left_out:
            raise typer.Exit(FAILED)


@of_stores.command(
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
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Only runs of this length.")] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Rebuild the report from the store alone, also while another unvanish is training."""
    with exit_codes():
        from unvanish.study.report.results import grouped
        from unvanish.study.report.write import check_kind, write_report

        path = to or report_of(store)
        check_kind(path)
        check_figures(figures, format, width)
        records, left_out = _records(store, runs, epochs)
        groups = grouped(records)
        write_report(groups, path, figures_of(groups, figures, format, width))
        typer.echo(path)
        if left_out:
            raise typer.Exit(FAILED)


@of_stores.command(epilog="Example:  UNVANISH_DATA=~/fashion-mnist unvanish data")
def data() -> None:
    """Fetch and verify FashionMNIST, and say where it lies."""
    with exit_codes():
        from unvanish.data.sources import locate

        for path in locate().values():
            typer.echo(path)


def _records(store: str, words: list[str] | None, epochs: int | None) -> "tuple[list[Record], int]":
    """The runs that can be read, and how many others are left out, each with a sentence."""
    from unvanish.core.errors import DamagedError, StoreError
    from unvanish.core.output import printable
    from unvanish.store.protocol import DAMAGED
    from unvanish.store.store import Store

    kept = Store.reader(store)
    found = _chosen(kept.summaries(), words or [])
    records, left_out = [], 0
    for summary in found:
        try:
            if summary.outcome.state == DAMAGED:
                raise DamagedError(summary.outcome.error)
            record = kept.record(summary.digest, weights=False)
        except DamagedError as error:
            typer.echo(printable(f"unvanish: left out: {error}"), err=True)
            left_out += 1
            continue
        if record.recipe is not None and record.epochs and epochs in (None, record.recipe.epochs):
            records.append(record)
    if not records:
        raise StoreError(f"{kept} holds no such run with at least one epoch; `unvanish runs` lists what it holds")
    return records, left_out


def _chosen(summaries: "list[Summary]", words: list[str]) -> "list[Summary]":
    from unvanish.core.errors import StoreError

    chosen = []
    for word in words:
        found = [s for s in summaries if word in _names(s) or (len(word) >= 4 and s.digest.startswith(word))]
        if not found:
            raise StoreError(f"no run is called '{word}'; `unvanish runs` lists what the store holds")
        chosen += [s for s in found if s not in chosen]
    return chosen if words else summaries


def _names(summary: "Summary") -> set[str]:
    """What a run answers to, besides its digest: its method's id and its remedies."""
    from unvanish.study.methods import label

    if summary.recipe is None:
        return {summary.name or ""}
    return {label(summary.recipe), *(remedy.kind for remedy in summary.recipe.remedies)}


app.add_typer(of_stores)  # last, so that the help lists them last
