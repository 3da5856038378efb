"""`unvanish train`: a network of one's own, from options or from a recipe in a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unvanish.cli.engine import Engine, check_engine, device_on, executor_of
from unvanish.cli.exit import FAILED, exit_codes
from unvanish.cli.options import DEFAULT_STORE, AddressOption, EngineOption, StoreOption, path_named, report_of
from unvanish.cli.reproduce import (
    DeviceOption,
    JobsOption,
    MeasureOption,
    OnlyOption,
    QuietOption,
    ReportOption,
    RestartOption,
)
from unvanish.core.arguments import MOST

if TYPE_CHECKING:
    from unvanish.core.recipe import Recipe
    from unvanish.store.record import Record

commands = typer.Typer()


@commands.command(
    epilog="""Examples:

unvanish train --depth 20 --width 64 --activation tanh --init centred-critical --optimizer adam --seeds 1,2,3

unvanish train --remedy skip-connection --remedy 'weight-increasing:std=0.5' --epochs 10

unvanish train --data emnist/emnist-balanced --activation relu --init he · a folder of IDX files

unvanish train --depth 20 --save-recipe mine.toml --dry-run, then unvanish train --recipe mine.toml"""
)
def train(
    depth: Annotated[
        int | None, typer.Option(min=1, max=100_000, metavar="L", help="Hidden layers. (default: 7)")
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, max=10**6, metavar="N", help="Units of each hidden layer. (default: 128)")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(metavar="NAME", help="As torch.nn calls it, in any case. (default: sigmoid)")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="A standard deviation, `default` for PyTorch's, or one of centred-critical, critical, he, xavier, "
            "orthogonal, lsuv, fixup, gaussian:weight_var=…. (default: 0.05)",
        ),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="NAME", help="As torch.optim calls it, in any case. (default: SGD)")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(metavar="RATE", help="Learning rate. (default: 0.01 for SGD, else 0.001)")
    ] = None,
    remedy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:FIELD=VALUE,…]", help="A remedy; again for another, applied in this order."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(metavar="ID", help="A published method, such as 5, or several, 2+5.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, max=MOST, metavar="N", help="Length. (default: 32)")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, max=MOST, metavar="N", help="Images a step. (default: 512)")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="fashion-mnist, mnist, kmnist, a folder of IDX files, or a .npz file with x_train, y_train, x_test, "
            "y_test. (default: fashion-mnist)",
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, max=MOST, metavar="N", help="Only the first N training images.")
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST,
            metavar="N",
            help="Evaluate on the last N training images, not trained on, in place of the test images.",
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="1,2,…", help="One run for each seed. (default: the recipe's, or 42)")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json|toml", parser=path_named, help="The recipe of a file; other options change it."
        ),
    ] = None,
    save_recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json|toml", parser=path_named, help="Write the recipe into a file, for --recipe."),
    ] = None,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline/--no-baseline", help="Train the published baseline of this depth and width beside it."
        ),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the recipe, and train nothing.")] = False,
    jobs: JobsOption = None,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    store: StoreOption = DEFAULT_STORE,
    report: ReportOption = None,
    device: DeviceOption = None,
    measure_every: MeasureOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again what the store has already.")] = False,
    restart_damaged: RestartOption = False,
    only: OnlyOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a network of your own, measure its gradient, say what is wrong with it, and compare it with the baseline.

    What is left out is the published baseline's: 7 hidden layers of 128 sigmoid units, N(0, 0.05²), SGD 0.01.
    """
    check_engine(engine, address)
    with exit_codes():
        from unvanish.cli.recipe_files import read_recipe, recipe_with, write_recipe
        from unvanish.study.names import seeds_in
        from unvanish.study.report.kinds import check_kind

        path = report or report_of(store)
        check_kind(path)
        given: dict[str, Any] = {
            "method": method, "depth": depth, "width": width, "activation": activation, "init": init,
            "optimizer": optimizer, "lr": lr, "remedies": remedy, "epochs": epochs, "batch": batch, "data": data,
            "samples": samples, "held_out": held_out,
        }  # fmt: skip
        settings = {name: value for name, value in given.items() if value is not None}
        own = recipe_with(None if recipe is None else read_recipe(recipe), settings)
        recipes = [own] if seeds is None else [own.but(seed=seed) for seed in seeds_in(seeds)]
        if save_recipe is not None:
            write_recipe(recipes[0], save_recipe)
        if dry_run:
            _print_recipe(recipes[0])
            return
        from unvanish.cli.training import Options, train_and_report
        from unvanish.train.process import device_named

        options = Options(
            device=device_named(device_on(engine, device)),
            fresh=fresh,
            restart_damaged=restart_damaged,
            measure_every=measure_every,
            only=only,
            quiet=quiet,
        )
        every = [*recipes, *(_baselines(recipes) if baseline else [])]
        with executor_of(engine, jobs, address, len(every)) as executor:
            records = train_and_report(every, store, executor, path, options)
        if not quiet:
            _print_findings(records, len(recipes))
        typer.echo(path)
        if any(record.outcome.state == "failed" for record in records):
            raise typer.Exit(FAILED)


def _baselines(recipes: "list[Recipe]") -> "list[Recipe]":
    """The published baseline, with the depth, width, data and length of these; none where they are that already."""
    from unvanish.cli.recipe_files import baseline_of

    return [other for recipe in recipes if (other := baseline_of(recipe)) not in recipes]


def _print_recipe(recipe: "Recipe") -> None:
    from unvanish.cli.recipe_files import as_toml

    typer.echo(as_toml(recipe), nl=False)


def _print_findings(records: "list[Record]", own: int) -> None:
    """What the checks find in the first run, and what the seeds tell apart."""
    from unvanish.core.output import printable
    from unvanish.diagnosis.recorded import diagnose_run
    from unvanish.study.report.groups import grouped
    from unvanish.study.report.significance import significance

    typer.echo()
    for line in diagnose_run(records[0]).lines():
        typer.echo(printable(line))
    if own == len(records):
        typer.echo("It has nothing to be compared with: it is the published baseline, or --no-baseline left that out.")
    told = significance(grouped(records)) if len(records) > own else None
    for sentence in told.sentences if told is not None else ():
        typer.echo(printable(sentence))
