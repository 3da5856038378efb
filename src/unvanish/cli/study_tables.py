"""What `unvanish study` shows on standard output."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from unvanish.cli.tables import print_table
from unvanish.core.curve import Outcome
from unvanish.core.errors import StoreError
from unvanish.core.recipe import Recipe
from unvanish.core.statistics import over_seeds
from unvanish.core.values import counted
from unvanish.store.protocol import DAMAGED, ENDED
from unvanish.study.methods import label
from unvanish.study.plan import halving
from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import InStore, Nothing, state_of
from unvanish.study.plan.results import counted_runs, reported
from unvanish.study.plan.room import next_runs
from unvanish.study.plan.search import greatest
from unvanish.study.plan.study import Study
from unvanish.study.plan.tried import tried
from unvanish.study.plan.wanted import wanted

if TYPE_CHECKING:
    from unvanish.study.report.groups import Group

MOST_ROWS = 60


def print_study(study: Study, known: InStore) -> None:
    """A line for each cell, and how much is left."""
    if study.search is not None:
        rows = []
        for cell in study.cells:
            found = greatest(study, cell, known)
            values = ", ".join(f"{value}: {_mean(seeds)}" for value, seeds in sorted(found.tried.items()))
            rows.append((cell.name, str(found), values))
        print_table(("cell", f"greatest {study.search.setting}", "mean accuracy at each"), rows)
    else:
        print_table(("cell", "runs", "epochs", "state", "accuracy", "95 % interval"), _rows(study, known))
        if len(study.cells) > MOST_ROWS:
            typer.echo(f"and {len(study.cells) - MOST_ROWS} more cells: unvanish study export")
    _print_left(study, known)


def _print_left(study: Study, known: InStore) -> None:
    """What went wrong, and what the next call trains."""
    failed, damaged = (_runs_that(state, study, known) for state in ("failed", DAMAGED))
    if failed:
        why = f"unvanish show {min(failed)[:8]} says why"
        typer.echo(f"{counted(len(failed), 'run')} failed: {why}; the next unvanish study run tries again")
    if damaged:
        typer.echo(f"{counted(len(damaged), 'run')} damaged: unvanish study run --restart-damaged trains anew")
    found, used_up = next_runs(study, known)
    left = [one for one in found if one.recipe.digest() not in damaged] if damaged else found
    if left:
        typer.echo(f"{counted(len(left), 'run')} to be trained next, by unvanish study run")
    elif used_up:
        typer.echo(f"Its budget of {counted(study.budget.runs, 'run')} is used up")
    elif not damaged:
        typer.echo("Nothing is left to be trained")


def _runs_that(state: str, study: Study, known: InStore) -> set[str]:
    """Its runs in that state; the store may have others."""
    found = {digest for digest, outcome in known.outcomes.items() if outcome.state == state}
    return found and found & {recipe.digest() for _, _, recipe in tried(study, known)}


def _rows(study: Study, known: InStore) -> list[tuple[str, ...]]:
    """Of the first cells."""
    cells = study.cells[:MOST_ROWS]
    counting = counted_runs(study, known, cells)
    results = reported(study, known, cells) if study.goes_by_results else None
    stopped = halving.stopped(study, known) if study.halving is not None else {}
    best = study.compare.by == "best"
    rows = []
    for cell in cells:
        recipes = counting[cell]
        outcomes = _outcomes(recipes, known)
        of_results = outcomes if results is None else _outcomes(results[cell], known)
        found = over_seeds(one.best_val_acc if best else one.last_val_acc for one in of_results if one.state in ENDED)
        states = ["stopped"] if cell in stopped else sorted(set(map(state_of, outcomes))) or ["not begun"]
        done = sum(one.state in ENDED for one in outcomes)
        total = sum(sum(recipe.stage_epochs()) for recipe in recipes)
        rows.append(
            (
                cell.name,
                f"{done}/{len(recipes)}",
                f"{sum(one.epochs for one in outcomes):,}/{total:,}",
                ", ".join(states),
                "–" if found is None else found.format(4),
                "–" if found is None else found.interval(4),
            )
        )
    return rows


def _outcomes(recipes: Iterable[Recipe], known: InStore) -> list[Outcome]:
    """Of those that have begun."""
    return [one for recipe in recipes if (one := known.outcomes.get(recipe.digest())) is not None]


def _mean(values: tuple[float, ...]) -> str:
    return f"{sum(values) / len(values):.2f}"


def print_significance(study: Study, groups: "Sequence[Group]") -> None:
    """What the report's section of tests says, in its sentences."""
    from unvanish.study.report.significance import significance

    told = significance(groups, study.compare.baseline, study.compare.by)
    for sentence in told.sentences[1:] if told is not None else ():
        typer.echo(sentence)


def print_plan(study: Study, store: str) -> None:
    """What the study would train first, with what the store has already."""
    from unvanish.store.store import Store

    first = counted(min(len(wanted(study, Nothing())), study.budget.runs), "run")
    typer.echo(f"{study} ({', '.join(map(str, study.seeds))}); {first}{' to begin with' * study.goes_by_results}")
    firsts: dict[Cell, Recipe] = {}
    for cell, _, recipe in tried(study, Nothing(), study.cells[:MOST_ROWS]):
        firsts.setdefault(cell, recipe)
    for cell, recipe in firsts.items():
        typer.echo(f"  {cell.name}: {label(recipe)}, {counted(sum(recipe.stage_epochs()), 'epoch')}")
    if len(study.cells) > MOST_ROWS:
        typer.echo(f"  and {len(study.cells) - MOST_ROWS} more")
    if study.select is not None:
        values = ", ".join(map(str, study.select.values))
        typer.echo(f"Each with {study.select.setting} = {values}; the best of them then on all training images")
    with suppress(StoreError):  # there is none yet
        kept = Store.reader(store)
        typer.echo(f"With what {kept} has:")
        _print_left(study, InStore(kept))
