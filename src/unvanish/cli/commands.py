"""The command line: parse, call, print. Heavy imports wait until a command needs them."""

import atexit
import gc
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from unvanish.cli.diagnosis import commands as diagnosis_commands
from unvanish.cli.exit import OK, end_as_ctrl_c_does, exit_codes
from unvanish.cli.lessons import commands as lessons_commands
from unvanish.cli.repair import commands as repair_commands
from unvanish.cli.reproduce import commands as reproduce_commands
from unvanish.cli.stores import commands as store_commands
from unvanish.cli.study import commands as study_commands
from unvanish.cli.theory import commands as theory_commands
from unvanish.cli.train import commands as train_commands

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

of_data = typer.Typer()


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
app.add_typer(train_commands)
app.add_typer(study_commands, name="study")
app.add_typer(diagnosis_commands)
app.add_typer(repair_commands)
app.add_typer(theory_commands)
app.add_typer(lessons_commands)


def main() -> None:
    """The entry point."""
    _collect_rarely()
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


def _collect_rarely() -> None:
    """Python's collector looks for cycles again and again among all that torch imports: a third of a short command."""
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.freeze)  # and at the end, when everything goes, it need not look at all


def _without_types_of_flags(command: Any) -> None:
    """A flag takes no value, and the help shall not show one."""
    for parameter in command.get_params(typer.Context(command, help_option_names=HELP)):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for one in getattr(command, "commands", {}).values():
        _without_types_of_flags(one)


@of_data.command(epilog="Example:  UNVANISH_DATA=~/fashion-mnist unvanish data")
def data() -> None:
    """Fetch and verify FashionMNIST, and say where it lies."""
    with exit_codes():
        from unvanish.data.sources import locate

        for path in locate().values():
            typer.echo(path)


app.add_typer(store_commands)  # last, so that the help lists them last
app.add_typer(of_data)
