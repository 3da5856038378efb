"""What `unvanish study` shows on standard output."""

from contextlib import suppress

import typer

from unvanish.cli.tables import print_table
from unvanish.core.errors import StoreError
from unvanish.core.statistics import estimate
from unvanish.core.values import counted
from unvanish.store.protocol import ENDED
from unvanish.study.methods import label
from unvanish.study.plan import halving
from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import InStore, Nothing, accuracy
from unvanish.study.plan.results import reported
from unvanish.study.plan.room import next_runs
from unvanish.study.plan.search import greatest
from unvanish.study.plan.study import Study
from unvanish.study.plan.tried import tried
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
    left = next_runs(study, known)
    if left:
        typer.echo(f"{counted(len(left), 'run')} to be trained next: unvanish study run goes on")
    elif wanted(study, known.without_failed()):
        typer.echo(f"Its budget of {counted(study.budget.runs, 'run')} is used up")


def _row(study: Study, cell: Cell, known: InStore) -> tuple[str, ...]:
    recipes = [recipe for _, recipe in tried(study, cell, known)]
    outcomes = [known.outcomes[one.digest()] for one in recipes if one.digest() in known.outcomes]
    done = [one for one in outcomes if one.state in ENDED]
    results = [known.outcomes.get(one.digest()) for one in reported(study, cell, known)]
    states = sorted({one.state for one in outcomes}) or ["not begun"]
    if study.halving is not None and cell in halving.stopped(study, known):
        states = ["stopped"]
    total = sum(sum(recipe.stage_epochs()) for recipe in recipes)
    values = [accuracy(one, study.compare.by) for one in results if one is not None and one.state in ENDED]
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

    first = counted(min(len(wanted(study, Nothing())), study.budget.runs), "run")
    typer.echo(f"{study} ({', '.join(map(str, study.seeds))}); {first}{' to begin with' * study.goes_by_results}")
    for cell in study.cells[:MOST_ROWS]:
        recipe = study.recipes(cell)[0]
        typer.echo(f"  {cell.name}: {label(recipe)}, {counted(sum(recipe.stage_epochs()), 'epoch')}")
    if len(study.cells) > MOST_ROWS:
        typer.echo(f"  and {len(study.cells) - MOST_ROWS} more")
    with suppress(StoreError):  # there is none yet
        kept = Store.reader(store)
        typer.echo(f"With what {kept} has: {counted(len(next_runs(study, InStore(kept))), 'run')} to be trained next")
