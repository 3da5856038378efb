"""The diagnosis on the command line: `check` and `rule`."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from unvanish.cli.exit import FAILED, USAGE, exit_codes
from unvanish.cli.options import SeedOption, in_colour, path_named
from unvanish.cli.repair import repair_of
from unvanish.core.arguments import MOST

commands = typer.Typer()


@commands.command(
    epilog="""Examples:

unvanish check model.py:make · make() gives a dict of model, batches, loss_fn, optimizer

unvanish check model.py:make --fix · diagnose, repair, prove

unvanish check model.py:Net --batches data.py:loader --format junit > check.xml

Exit codes: 0 healthy, or not sure · 1 failing · 2 wrong usage."""
)
def check(
    factory: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:FACTORY",
            help="A function without arguments that returns a model, or a dict of model, batches, loss_fn, optimizer.",
        ),
    ],
    batches: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:FACTORY", help="Gives an iterable of (input, target), such as a DataLoader."),
    ] = None,
    format: Annotated[
        Literal["text", "json", "sarif", "junit"], typer.Option("--format", help="What is printed.")
    ] = "text",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", parser=path_named, help="Also write a page with the flow plot.")
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, max=MOST, metavar="N", help="Optimizer steps of a trial, on a copy.")
    ] = 20,
    seed: SeedOption = 0,
    fix: Annotated[bool, typer.Option("--fix", help="Go on with `unvanish repair`.")] = False,
) -> None:
    """Diagnose a network before it is trained: what keeps it from learning, and what to change.

    The loss is torch.nn.functional.cross_entropy unless the factory gives another. `optimizer` may be one, or a
    function of the parameters that returns one; without it the learning rate is not judged.
    """
    if fix:
        if format not in ("text", "json"):
            raise typer.BadParameter("with --fix it is text or json", param_hint="--format")
        repair_of(factory, batches, None, None, format, html, seed)
        return
    with exit_codes(failed=USAGE, interrupted="nothing was written"):
        import torch

        from unvanish.cli.factory import from_factories, theirs
        from unvanish.cli.formats import FORMATS
        from unvanish.core.output import check_writable
        from unvanish.diagnosis.check import check as diagnosed
        from unvanish.render.text import coloured

        if html is not None:
            check_writable(html)
        torch.manual_seed(seed)
        with redirect_stdout(sys.stderr), theirs():  # what the user's code prints must not mix with the result
            diagnosis = diagnosed(from_factories(factory, batches), steps=steps, seed=seed)
        said = FORMATS[format](diagnosis, factory.rpartition(":")[0])
        typer.echo(coloured(said, diagnosis.healthy) if format == "text" and in_colour() else said)
        if html is not None:
            diagnosis.to_html(html)
        if diagnosis.healthy is False:
            raise typer.Exit(FAILED)


@commands.command(
    epilog="""Examples:

unvanish rule UV001

unvanish rule --list"""
)
def rule(
    code: Annotated[str | None, typer.Argument(metavar="CODE", help="A finding's code, or its kind.")] = None,
    every: Annotated[bool, typer.Option("--list", help="All codes, a line each.")] = False,
) -> None:
    """Explain a finding: what it measures, why it is bad, limitations, prescriptions, references."""
    if every == (code is not None):
        raise typer.BadParameter("give a code such as UV001, or --list", param_hint="CODE")
    with exit_codes():
        from unvanish.diagnosis.checks import ALL
        from unvanish.diagnosis.rules import explanation
        from unvanish.diagnosis.rules import rule as rule_named

        if code is not None:
            typer.echo(explanation(rule_named(code)))
            return
        for one in ALL:
            typer.echo(f"{one.code}  {one.kind:<21} {one.title}")
