"""What the command line shows: live progress on standard error, tables on standard output."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from unvanish.core.curve import Epoch
from unvanish.core.recipe import Recipe
from unvanish.core.values import counted
from unvanish.diagnosis.recorded import diagnose_run
from unvanish.store.conditions import in_words
from unvanish.store.events import Event
from unvanish.store.protocol import Summary
from unvanish.store.record import Record
from unvanish.study.methods import METHODS, PUBLISHED_SEED, label
from unvanish.study.report.results import COLUMNS, Group, as_factor, attenuation, table

PROSE, PROSE_NEEDS = "what it changes", 24  # the one column that may be broken, and its least width
PACE_OVER = 10  # epochs, so that the time left follows the machine and the stage
GAP = 2  # between columns
ROOMY = 150  # columns: room for what a method changes beside its progress
WIDTH_OF_A_PIPE = 160  # columns, where there is no terminal to ask


class StudyProgress:
    """Listens to a study: one line a running method, or without a terminal one line a run that ends."""

    def __init__(self, progress: Progress | None, console: Console, recipes: Sequence[Recipe]) -> None:
        self.progress, self.console = progress, console
        self.recipes = {recipe.digest(): recipe for recipe in recipes}
        self.tasks: dict[str, TaskID] = {}
        self.began: dict[str, float] = {}
        self.trained: dict[str, list[float]] = {}  # seconds of each epoch heard of

    def hear(self, event: Event) -> None:
        if event.kind == "stopping":
            self._say("  finishing the epoch that each run is at; Ctrl-C again stops at once")
            return
        roomy = self.console.width >= ROOMY or not self.console.is_terminal
        digest, recipe = event.digest, self.recipes[event.digest]
        name = _title(recipe) if roomy else _short_title(recipe)
        match event.kind:
            case "known":
                self._say(f"  {name}  known already")
            case "began":
                self._begin(digest, name, sum(recipe.stage_epochs()), event.data["epochs"])
            case "epoch":
                self._advance(digest, event.row)
            case "died":
                self._say(f"  {name}  lost its worker ({event.data['reason']}); goes on from its last checkpoint")
            case "ended":
                if self.progress and digest in self.tasks:
                    self.progress.remove_task(self.tasks.pop(digest))
                seconds, error = time.monotonic() - self.began[digest], event.data["error"]
                self._say(f"  {name}  {event.data['state']} after {seconds:.0f} s{': ' + error if error else ''}")

    def _begin(self, digest: str, name: str, total: int, done: int) -> None:
        self.began[digest] = time.monotonic()
        if done and digest not in self.tasks:
            self._say(f"  {name}  goes on after {done} epoch{'s' * (done != 1)}")
        if self.progress and digest not in self.tasks:
            self.tasks[digest] = self.progress.add_task(name, total=total, completed=done, acc="", rate="", left="")

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)

    def _advance(self, digest: str, row: Epoch) -> None:
        if not self.progress or digest not in self.tasks:
            return
        task_id = self.tasks[digest]
        task = next(task for task in self.progress.tasks if task.id == task_id)
        done, trained = int(task.completed) + 1, self.trained.setdefault(digest, [])
        trained.append(row.seconds)
        pace_s = sum(trained[-PACE_OVER:]) / len(trained[-PACE_OVER:])
        left_s = int(((task.total or done) - done) * pace_s)
        self.progress.update(
            task_id,
            completed=done,
            acc=f"val {row.val_acc:.3f}",
            rate=f"{1 / pace_s:.1f} epochs/s",
            left=f"{left_s // 60}:{left_s % 60:02d} left",
        )


class _Field(ProgressColumn):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get(self.name, "")))


@contextmanager
def study_progress(recipes: Sequence[Recipe], *, quiet: bool) -> Iterator[StudyProgress]:
    """Progress on standard error, or none at all."""
    console = Console(stderr=True, quiet=quiet, highlight=False, markup=False)
    if quiet or not console.is_terminal:
        yield StudyProgress(None, console, recipes)
        return
    progress = Progress(
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        _Field("acc"),
        _Field("rate"),
        _Field("left"),
        console=console,
        refresh_per_second=4,  # the workers need the cores
    )
    with progress:
        yield StudyProgress(progress, progress.console, recipes)


def print_results(groups: Sequence[Group]) -> None:
    """The results table."""
    _print_table(COLUMNS, table(groups))


def print_runs(summaries: Sequence[Summary]) -> None:
    """One line a run."""
    rows = [_run_row(summary) for summary in summaries]
    _print_table(("run", "method", "seed", "epochs", "state", "val acc", "seconds", "begun"), rows)


def _run_row(summary: Summary) -> tuple[str, ...]:
    recipe, outcome = summary.recipe, summary.outcome
    return (
        summary.digest[:12],
        label(recipe) if recipe else summary.name or "",
        str(recipe.seed) if recipe else "–",
        f"{outcome.epochs}/{sum(recipe.stage_epochs())}" if recipe else str(outcome.epochs),
        outcome.state,
        "–" if outcome.last_val_acc is None else f"{outcome.last_val_acc:.4f}",
        f"{outcome.seconds:.0f}",
        datetime.fromtimestamp(summary.begun).strftime("%Y-%m-%d %H:%M"),
    )


def print_record(record: Record) -> None:
    """One run in full."""
    console = _console()
    console.print(_title(record.recipe) if record.recipe else record.name)
    for name, value in _facts(record).items():
        console.print(f"  {name:<15} {value}", soft_wrap=True)
    console.print()
    curve = record.curve
    rows = [tuple(_number(value) for value in row) for row in zip(*curve.values(), strict=True)]
    _print_table(tuple(curve), _ends(rows))
    table = record.table
    for name, step in (("at initialisation", 0), ("at the end", -1)):
        if table.steps:
            console.print(f"\ngradient flow {name}")
            columns = [[_number(value) for value in table.row(quantity, step)] for quantity in table.values]
            _print_table(("layer", *table.values), list(zip(table.layers, *columns, strict=True)))
    if table.steps:
        console.print()
        for line in diagnose_run(record).lines():
            console.print(line, soft_wrap=True, markup=False, highlight=False)


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
        "signal": f"{start} reaches layer 1 at start, {end} at the end",
        **in_words(record.environment),
        **({"recipe": recipe.model_dump_json()} if recipe else {}),
    }


def run_name(summary: Summary) -> str:
    """`1f2e3d4c5b6a (1a, seed 42, 50 epochs)`"""
    recipe = summary.recipe
    if recipe is None:
        return f"{summary.digest[:12]} ({summary.name})"
    return f"{summary.digest[:12]} ({label(recipe)}, seed {recipe.seed}, {counted(recipe.epochs, 'epoch')})"


def _title(recipe: Recipe) -> str:
    name = label(recipe)
    if name not in METHODS:
        return _short_title(recipe)
    title = f"{METHODS[name][0]}, {recipe}" if recipe.remedies else METHODS[name][0]
    return f"{name:<10}{title}{_seed(recipe)}"


def _short_title(recipe: Recipe) -> str:
    return label(recipe) + _seed(recipe)


def _seed(recipe: Recipe) -> str:
    """Nothing for the published seed."""
    return "" if recipe.seed == PUBLISHED_SEED else f", seed {recipe.seed}"


def _ends(rows: list[tuple[str, ...]], most: int = 12) -> list[tuple[str, ...]]:
    """The first and the last rows of a long table."""
    if len(rows) <= most:
        return rows
    gap = tuple("⋮" for _ in rows[0])
    return [*rows[: most // 2], gap, *rows[-most // 2 :]]


def _number(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    number = float(value)  # type: ignore[arg-type]
    if np.isnan(number):
        return "–"
    return f"{number:.4f}" if 1e-3 <= abs(number) < 1e4 or number == 0 else f"{number:.2e}"


def _print_table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Figures are never cut; the column of prose gets what room is left, or is left out."""
    console = _console()
    # a heading may be broken between its words, a cell not at all
    cells = list(zip(*rows, strict=True)) or [()] * len(columns)
    widths = [max(map(len, (*column.split(), *texts))) for column, texts in zip(columns, cells, strict=True)]
    room = console.width - sum(width + GAP for width, column in zip(widths, columns, strict=True) if column != PROSE)
    kept = [place for place, column in enumerate(columns) if column != PROSE or room >= PROSE_NEEDS]
    shown = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for place in kept:
        prose = columns[place] == PROSE
        shown.add_column(columns[place], overflow="fold", min_width=PROSE_NEEDS if prose else widths[place])
    for row in rows:
        shown.add_row(*(Text(row[place]) for place in kept))
    console.print(shown)


def _console() -> Console:
    terminal = sys.stdout.isatty()
    return Console(highlight=False, markup=False, width=None if terminal else WIDTH_OF_A_PIPE)
