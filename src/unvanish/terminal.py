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

from unvanish.core.recipe import Recipe
from unvanish.core.record import Epoch, Record
from unvanish.doctor.of_record import diagnose_run
from unvanish.doctor.text import verdict
from unvanish.recipes import METHODS, PUBLISHED_SEED, label
from unvanish.report.results import COLUMNS, Group, as_factor, attenuation, table
from unvanish.store.store import Summary
from unvanish.study.events import Began, Died, Ended, Event, Known, Stopping, Went

PROSE, PROSE_NEEDS = "what it changes", 24  # the one column that may be broken, and its least width
PACE_OVER = 10  # epochs, so that the time left follows the machine and the stage
GAP = 2  # between columns
ROOMY = 150  # columns: room for what a method changes beside its progress
WIDTH_OF_A_PIPE = 160  # columns, where there is no terminal to ask


class StudyProgress:
    """Listens to a study: one line a running method, or without a terminal one line a run that ends."""

    def __init__(self, progress: Progress | None, console: Console) -> None:
        self.progress, self.console = progress, console
        self.tasks: dict[str, TaskID] = {}
        self.began: dict[str, float] = {}
        self.trained: dict[str, list[float]] = {}  # seconds of each epoch heard of

    def hear(self, event: Event) -> None:
        if isinstance(event, Stopping):
            self._say("  finishing the epoch that each run is at; Ctrl-C again stops at once")
            return
        roomy = self.console.width >= ROOMY or not self.console.is_terminal
        digest, name = event.recipe.digest(), _title(event.recipe) if roomy else _short_title(event.recipe)
        match event:
            case Known():
                self._say(f"  {name}  known already")
            case Began(recipe, done):
                self.began[digest] = time.monotonic()
                total = sum(recipe.stage_epochs())
                if done and digest not in self.tasks:
                    self._say(f"  {name}  goes on after {done} epoch{'s' * (done != 1)}")
                if self.progress and digest not in self.tasks:
                    self.tasks[digest] = self.progress.add_task(
                        name, total=total, completed=done, acc="", rate="", left=""
                    )
            case Went(_, row):
                self._advance(digest, row)
            case Died(_, reason):
                self._say(f"  {name}  lost its worker ({reason}); goes on from its last checkpoint")
            case Ended(recipe, state, error):
                if self.progress and digest in self.tasks:
                    self.progress.remove_task(self.tasks.pop(digest))
                seconds = time.monotonic() - self.began[digest]
                self._say(f"  {name}  {state} after {seconds:.0f} s{': ' + error if error else ''}")

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
def study_progress(*, quiet: bool) -> Iterator[StudyProgress]:
    """Progress on standard error, or none at all."""
    console = Console(stderr=True, quiet=quiet, highlight=False, markup=False)
    if quiet or not console.is_terminal:
        yield StudyProgress(None, console)
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
        yield StudyProgress(progress, progress.console)


def print_results(groups: Sequence[Group]) -> None:
    """The results table."""
    _print_table(COLUMNS, table(groups))


def print_runs(summaries: Sequence[Summary]) -> None:
    """One line a run."""
    rows = [
        (
            summary.digest[:12],
            label(summary.recipe),
            str(summary.recipe.seed),
            f"{summary.outcome.epochs}/{sum(summary.recipe.stage_epochs())}",
            summary.outcome.state,
            "–" if summary.outcome.last_val_acc is None else f"{summary.outcome.last_val_acc:.4f}",
            f"{summary.outcome.seconds:.0f}",
            datetime.fromtimestamp(summary.begun).strftime("%Y-%m-%d %H:%M"),
        )
        for summary in summaries
    ]
    _print_table(("run", "method", "seed", "epochs", "state", "val acc", "seconds", "begun"), rows)


def print_record(record: Record) -> None:
    """One run in full."""
    console = _console()
    recipe, outcome = record.recipe, record.outcome
    start, end = (as_factor(attenuation(record, step)) for step in (0, -1))
    console.print(_title(recipe))
    facts = {
        "seed": str(recipe.seed),
        "digest": recipe.digest(),
        "network": str(recipe.network),
        "init": "PyTorch's default" if recipe.init_std is None else f"N(0, {recipe.init_std:g}²)",
        "optimizer": f"{recipe.optimizer.name}, {recipe.optimizer}",
        "remedies": str(recipe),
        "state": outcome.state + (f": {outcome.error}" if outcome.error else ""),
        "epochs": f"{outcome.epochs} of {sum(recipe.stage_epochs())}, {outcome.seconds:.0f} s",
        "val acc": "–"
        if outcome.last_val_acc is None
        else f"last {outcome.last_val_acc:.4f}, best {outcome.best_val_acc:.4f}",
        "signal": f"{start} reaches layer 1 at start, {end} at the end",
        **record.environment,
        "recipe": recipe.model_dump_json(),
    }
    for name, value in facts.items():
        console.print(f"  {name:<15} {value}", soft_wrap=True)
    console.print()
    curve = record.curve
    rows = [tuple(_number(value) for value in row) for row in zip(*curve.values(), strict=True)]
    _print_table(tuple(curve), _ends(rows))
    for name, step in (("at initialisation", 0), ("at the end", -1)):
        series = list(record.series.values())
        if series[0].steps:
            console.print(f"\ngradient flow {name}")
            by_layer = [
                (layer, *(_number(one.values[step, index]) for one in series))
                for index, layer in enumerate(series[0].layers)
            ]
            _print_table(("layer", *(one.name for one in series)), by_layer)
    if record.series["backward_signal"].steps:
        console.print()
        for line in verdict(diagnose_run(record)):
            console.print(line, soft_wrap=True)


def run_name(summary: Summary) -> str:
    """`1f2e3d4c5b6a (1a, seed 42, 50 epochs)`"""
    recipe = summary.recipe
    return f"{summary.digest[:12]} ({label(recipe)}, seed {recipe.seed}, {recipe.epochs} epochs)"


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
