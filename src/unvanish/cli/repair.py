"""Repairing on the command line."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from unvanish.cli.exit import FAILED, INTERRUPTED, USAGE, exit_codes
from unvanish.cli.options import SeedOption, in_colour, path_named
from unvanish.core.arguments import MOST

commands = typer.Typer()

FactoryArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE.py:FACTORY",
        help="A function without arguments that returns a dict of model, batches, loss_fn, optimizer.",
    ),
]
BudgetOption = Annotated[
    float | None,
    typer.Option("--budget", metavar="SECONDS", help="How long it may take; chooses the steps. (default: 60)"),
]
StepsOption = Annotated[
    int | None,
    typer.Option(min=1, max=MOST, metavar="N", help="Steps of each training, in place of --budget: reproducible."),
]


@commands.command(
    epilog="""Examples:

unvanish repair model.py:make · make() gives a dict of model, batches, loss_fn, optimizer

unvanish repair model.py:make --budget 300 --html repair.html

unvanish repair model.py:make --steps 200 --format json | jq -r .code

Exit codes: 0 repaired, or healthy · 1 not · 2 wrong usage · 130 interrupted."""
)
def repair(
    factory: FactoryArgument,
    batches: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:FACTORY", help="Gives an iterable of (input, target), such as a DataLoader."),
    ] = None,
    budget: BudgetOption = None,
    steps: StepsOption = None,
    format: Annotated[Literal["text", "json"], typer.Option("--format", help="What is printed.")] = "text",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", parser=path_named, help="Also write a web page about it.")
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Find a change that makes a failing network learn, and prove it against the network as it is.

    The network is diagnosed; what the findings prescribe is tried on copies, at equal budgets, beside the network as it
    is; and the best of it is proven on samples that the selection did not use. Nothing of yours is changed: the
    change is printed as code.
    """
    repair_of(factory, batches, budget, steps, format, html, seed)


def repair_of(
    factory: str,
    batches: str | None,
    budget: float | None,
    steps: int | None,
    format: str,
    html: Path | None,
    seed: int,
) -> None:
    """What `repair`, and `check --fix`, do."""
    with exit_codes(failed=USAGE, interrupted="nothing was written"):
        import torch

        from unvanish.cli.factory import from_factories, theirs
        from unvanish.core.output import check_writable, printable
        from unvanish.diagnosis.repair.run import repair as repaired
        from unvanish.render.text import coloured

        if html is not None:
            check_writable(html)  # now, not after a minute
        torch.manual_seed(seed)
        with redirect_stdout(sys.stderr), theirs():  # what the user's code prints must not mix with the result
            given = from_factories(factory, batches)
            with _progress() as said:
                result = repaired(given, budget_s=budget, steps=steps, seed=seed, progress=said)
        if format == "json":
            typer.echo(json.dumps(result.to_dict(), indent=2, ensure_ascii=False))
        else:
            text = printable(str(result))
            typer.echo(coloured(text, result.outcome in ("healthy", "repaired")) if in_colour() else text)
        if html is not None:
            result.to_html(html)
        if result.interrupted:
            raise typer.Exit(INTERRUPTED)
        if result.outcome not in ("healthy", "repaired"):
            raise typer.Exit(FAILED)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what is going on, in a terminal; elsewhere nothing."""
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield status.update
