"""What `unvanish study` shows on standard output."""

from contextlib import suppress

import typer

from unvanish.cli.tables import print_table
from unvanish.core.errors import StoreError
from unvanish.core.statistics import estimate
from unvanish.core.values import counted
from unvanish.study.methods import label
from unvanish.study.plan import halving
from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import InStore, Nothing, accuracy
from unvanish.study.plan.results import reported
from unvanish.study.plan.search import greatest
from unvanish.study.plan.study import Study
from unvanish.study.plan.wanted import wanted

MOST_ROWS = 60


def print_study(study: Study, known: InStore) -> None:
    """A line for each cell, and how much is left."""
    if study.search is not None:
        rows = []
        for cell in study.cells:
            found = greatest(study, cell, known)
            tried = ", ".join(f"{value}: {_mean(seeds)}" for value, seeds in sorted(found.tried.items()))
            rows.append((cell.name, str(found), tried))
        print_table(("cell", f"greatest {study.search.setting}", "mean accuracy at each"), rows)
    else:
        rows = [_row(study, cell, known) for cell in study.cells[:MOST_ROWS]]
        print_table(("cell", "runs", "epochs", "state", "accuracy", "95 % interval"), rows)
        if len(study.cells) > MOST_ROWS:
            typer.echo(f"and {len(study.cells) - MOST_ROWS} more cells: unvanish study export")
    left = wanted(study, known)
    if left:
        typer.echo(f"{counted(len(left), 'run')} to be trained next: unvanish study run goes on")


def _row(study: Study, cell: Cell, known: InStore) -> tuple[str, ...]:
    recipes = reported(study, cell, known) or study.recipes(cell)
    outcomes = [known.outcomes[one.digest()] for one in recipes if one.digest() in known.outcomes]
    done = [one for one in outcomes if one.state in ("finished", "diverged")]
    states = sorted({one.state for one in outcomes}) or ["not begun"]
    if study.halving is not None and cell in halving.stopped(study, known):
        states = ["stopped"]
    total = len(recipes) * sum(recipes[0].stage_epochs())
    values = [accuracy(one, study.compare.by) for one in done]
    found = estimate(values) if values else None
    return (
        cell.name,
        f"{len(done)}/{len(recipes)}",
        f"{sum(one.epochs for one in outcomes):,}/{total:,}",
        ", ".join(states),
        "–" if found is None else found.format(4),
        "–" if found is None else found.interval(4),
    )


def _mean(values: tuple[float, ...]) -> str:
    return f"{sum(values) / len(values):.2f}"


def print_significance(study: Study, known: InStore) -> None:
    """What the report's section of tests says, in its sentences."""
    from unvanish.study.report.of_study import groups_of, sections_of

    for section in sections_of(study, known, groups_of(study, known)):
        if section.id == "significance":
            for sentence in section.sentences[1:]:
                typer.echo(sentence)


def print_plan(study: Study, store: str) -> None:
    """What the study would train first, with what the store has already."""
    from unvanish.store.store import Store

    first = counted(len(wanted(study, Nothing())), "run")
    typer.echo(f"{study} ({', '.join(map(str, study.seeds))}); {first}{' to begin with' * study.goes_by_results}")
    for cell in study.cells[:MOST_ROWS]:
        recipe = study.recipes(cell)[0]
        typer.echo(f"  {cell.name}: {label(recipe)}, {counted(sum(recipe.stage_epochs()), 'epoch')}")
    if len(study.cells) > MOST_ROWS:
        typer.echo(f"  and {len(study.cells) - MOST_ROWS} more")
    with suppress(StoreError):  # there is none yet
        kept = Store.reader(store)
        left = wanted(study, InStore(kept))
        typer.echo(f"{counted(len(left), 'run')} of these are to be trained; {kept} has the others")
