"""The list of runs: filtered, sorted and printed, ten thousand of them as fast as ten."""

from collections.abc import Sequence
from datetime import datetime

import typer

from unvanish.cli.tables import print_table
from unvanish.core.errors import RecipeError, did_you_mean
from unvanish.core.output import printable
from unvanish.store.protocol import DAMAGED, ENDED, Summary
from unvanish.study.methods import label

STATES = (*ENDED, "unfinished", "failed", DAMAGED)
COLUMNS = ("run", "method", "seed", "epochs", "state", "val acc", "time", "started")
MANY = 200  # runs: a table whose columns fit the terminal takes long for more


def filtered(summaries: Sequence[Summary], state: str | None, seed: int | None, epochs: int | None) -> list[Summary]:
    if state is not None and state not in STATES:
        raise RecipeError(f"no state is called '{state}'{did_you_mean(state, STATES) or '; ' + ', '.join(STATES)}")
    return [
        one
        for one in summaries
        if state in (None, one.outcome.state)
        and (seed is None or (one.recipe is not None and one.recipe.seed == seed))
        and (epochs is None or (one.recipe is not None and one.recipe.epochs == epochs))
    ]


def in_order(summaries: Sequence[Summary], by: str, *, reverse: bool) -> list[Summary]:
    """What has no such value comes first."""
    keys = {
        "started": lambda one: one.begun,
        "accuracy": lambda one: _or_less(one.outcome.last_val_acc),
        "best": lambda one: _or_less(one.outcome.best_val_acc),
        "epochs": lambda one: one.outcome.epochs,
        "time": lambda one: one.outcome.seconds,
        "method": lambda one: label(one.recipe) if one.recipe else one.name or "",
        "seed": lambda one: one.recipe.seed if one.recipe else -1,
    }
    return sorted(summaries, key=keys[by], reverse=reverse)


def _or_less(value: float | None) -> float:
    return -1.0 if value is None else value


def print_runs(summaries: Sequence[Summary]) -> None:
    """One line per run."""
    rows = [_row(summary) for summary in summaries]
    if len(rows) <= MANY:
        print_table(COLUMNS, rows)
        return
    widths = [max(len(row[column]) for row in (COLUMNS, *rows)) for column in range(len(COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (COLUMNS, *rows))
    typer.echo("\n".join(printable(line.rstrip()) for line in lines))


def _length(summary: Summary) -> int:
    """In epochs: of a run that is finished, without asking its recipe, which has to make its network."""
    if summary.outcome.state == "finished" or summary.recipe is None:
        return summary.outcome.epochs
    return sum(summary.recipe.stage_epochs())


def _row(summary: Summary) -> tuple[str, ...]:
    recipe, outcome = summary.recipe, summary.outcome
    return (
        summary.digest[:8],
        label(recipe) if recipe else summary.name or "",
        str(recipe.seed) if recipe else "–",
        f"{outcome.epochs}/{_length(summary)}" if recipe else str(outcome.epochs),
        outcome.state,
        "–" if outcome.last_val_acc is None else f"{outcome.last_val_acc:.4f}",
        f"{outcome.seconds:.0f} s",
        datetime.fromtimestamp(summary.begun).strftime("%m-%d %H:%M"),
    )
