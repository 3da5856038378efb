"""What the command line shows on standard output: tables."""

import json
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from unvanish.cli.progress import title
from unvanish.cli.tables import GAP, console, print_table
from unvanish.core.output import printable
from unvanish.core.values import counted
from unvanish.diagnosis.recorded import diagnose_run
from unvanish.store.conditions import in_words
from unvanish.store.protocol import Summary
from unvanish.store.record import Record
from unvanish.study.methods import label
from unvanish.study.report.groups import Group, attenuation
from unvanish.study.report.results import COLUMNS, as_factor, table


def print_results(groups: Sequence[Group]) -> None:
    """The results table, and below it what needs more epochs than it had."""
    print_table(COLUMNS, [(*row[:-1], group.state) for row, group in zip(table(groups), groups, strict=True)])
    screen = console()
    for group in groups:
        if group.short:
            screen.print(f"{group.name} needs more epochs: {group.short}.")


def print_record(record: Record) -> None:
    """One run in full."""
    screen = console()
    screen.print(printable(title(record.recipe) if record.recipe else record.name))
    for name, value in _facts(record).items():
        for line in textwrap.wrap(
            printable(str(value)), max(40, screen.width - 18), break_long_words=False, break_on_hyphens=False
        ):
            screen.print(f"  {name:<15} {line}", soft_wrap=True)
            name = ""
    screen.print()
    curve = record.curve
    rows = [tuple(number(value) for value in row) for row in zip(*curve.values(), strict=True)]
    print_table(tuple(curve), ends(rows))
    table = record.table
    if not table.steps:
        return
    for name, step in (("at initialisation", 0), ("at the end", -1)):
        screen.print(f"\ngradient flow {name}")
        columns = {quantity: [number(value) for value in table.row(quantity, step)] for quantity in table.values}
        shown = _that_fit(screen.width, {"layer": list(table.layers), **columns})
        print_table(tuple(shown), list(zip(*shown.values(), strict=True)))
        if len(shown) <= len(columns):
            screen.print(f"and {len(columns) + 1 - len(shown)} more: unvanish export --layers")
    screen.print()
    for line in diagnose_run(record).lines():
        screen.print(printable(line), soft_wrap=True, markup=False, highlight=False)


FIRST = (
    "layer",
    "backward_rms",
    "weight_gradient_norm",
    "update_ratio",
    "activation_rms",
    "spread",
    "saturated",
    "dead",
)


def _that_fit(width: int, columns: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The columns that a line has room for, the most telling first."""
    order = [name for name in FIRST if name in columns] + [name for name in columns if name not in FIRST]
    shown: dict[str, Sequence[str]] = {}
    for name in order:
        used = sum(max(map(len, (other, *cells))) + GAP for other, cells in shown.items())
        if used + max(map(len, (name, *columns[name]))) <= width:
            shown[name] = columns[name]
    return shown


def _facts(record: Record) -> dict[str, str]:
    recipe, outcome = record.recipe, record.outcome
    start, end = (as_factor(attenuation(record, step)) for step in (0, -1))
    facts = (
        {"name": record.name}
        if recipe is None
        else {
            "seed": str(recipe.seed),
            "digest": recipe.digest(),
            "network": str(recipe.network),
            "init": "PyTorch's default" if recipe.init_std is None else f"N(0, {recipe.init_std:g}²)",
            "optimizer": f"{recipe.optimizer.name}, {recipe.optimizer}",
            "remedies": str(recipe) if recipe.remedies else "none",
        }
    )
    epochs = f"{outcome.epochs} of {sum(recipe.stage_epochs())}" if recipe else str(outcome.epochs)
    last, best = outcome.last_val_acc, outcome.best_val_acc
    return facts | {
        "state": outcome.state + (f": {outcome.error}" if outcome.error else ""),
        "epochs": f"{epochs}, {outcome.seconds:.0f} s",
        "val acc": "–" if last is None or best is None else f"last {last:.4f}, best {best:.4f}",
        "gradient ratio": f"layer 1 / last hidden layer: {start} at initialisation, {end} at the end",
        **in_words(record.environment),
        **({"recipe": json.dumps(recipe.model_dump(mode="json"), ensure_ascii=False)} if recipe else {}),
    }


def run_name(summary: Summary) -> str:
    """`1f2e3d4c5b6a (1a, seed 42, 50 epochs)`"""
    recipe = summary.recipe
    if recipe is None:
        return f"{summary.digest[:12]} ({summary.name})"
    return f"{summary.digest[:12]} ({label(recipe)}, seed {recipe.seed}, {counted(recipe.epochs, 'epoch')})"


def run_name_of(record: Record) -> str:
    """The same of a record."""
    if record.recipe is None:
        return record.name
    recipe = record.recipe
    return f"{recipe.digest()[:12]} ({label(recipe)}, seed {recipe.seed}, {counted(recipe.epochs, 'epoch')})"


def ends(rows: list[tuple[str, ...]], most: int = 12) -> list[tuple[str, ...]]:
    """The first and the last rows of a long table."""
    if len(rows) <= most:
        return rows
    gap = tuple("⋮" for _ in rows[0])
    return [*rows[: most // 2], gap, *rows[-most // 2 :]]


def number(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    number = float(value)  # type: ignore[arg-type]
    if np.isnan(number):
        return "–"
    return f"{number:.4f}" if 1e-3 <= abs(number) < 1e4 or number == 0 else f"{number:.2e}"
