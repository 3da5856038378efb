"""Live progress of a study on standard error."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from unvanish.core.curve import Epoch
from unvanish.core.recipe import Recipe
from unvanish.store.events import Event
from unvanish.study.methods import METHODS, PUBLISHED_SEED, label

PACE_OVER = 10  # epochs, so that the time left follows the machine and the stage
NAMED = 20  # of the runs that are known already
ROOMY = 150  # columns: room for what a method changes beside its progress


class StudyProgress:
    """Listens to a study: one line per running method, or without a terminal one line per run that ends."""

    def __init__(self, progress: Progress | None, console: Console, recipes: Sequence[Recipe]) -> None:
        self.progress, self.console = progress, console
        self.recipes: dict[str, Recipe] = {}
        self.known = 0
        self.tasks: dict[str, TaskID] = {}
        self.began: dict[str, float] = {}
        self.trained: dict[str, list[float]] = {}  # seconds of each epoch heard of
        self.accuracy: dict[str, float] = {}  # of the last epoch heard of
        self.epochs_left = 0
        self.whole: TaskID | None = None
        self.started, self.heard = time.monotonic(), 0
        self.expect(recipes)

    def expect(self, recipes: Sequence[Recipe]) -> None:
        """These will be trained, too."""
        for recipe in recipes:
            if recipe.digest() not in self.recipes:
                self.recipes[recipe.digest()] = recipe
                self.epochs_left += sum(recipe.stage_epochs())
        if self.progress is not None and self.whole is not None:
            done = next(task.completed for task in self.progress.tasks if task.id == self.whole)
            self.progress.update(self.whole, total=done + self.epochs_left)

    def hear(self, event: Event) -> None:
        if event.kind == "stopping":
            reason = event.data.get("reason")
            self._say(
                f"  {f'{reason}: ' if reason else ''}finishing the epoch that each run is at; Ctrl-C stops at once"
            )
            return
        roomy = self.console.width >= ROOMY or not self.console.is_terminal
        digest, recipe = event.digest, self.recipes[event.digest]
        name = title(recipe) if roomy else short_title(recipe)
        match event.kind:
            case "known":
                self._count(sum(recipe.stage_epochs()))
                self.known += 1
                if self.known <= NAMED:
                    self._say(f"  {name}  known already")
                elif self.known == NAMED + 1:
                    self._say("  and more that are known already")
            case "began":
                self._begin(digest, name, sum(recipe.stage_epochs()), event.data["epochs"])
            case "epoch":
                self._advance(digest, event.row)
            case "died":
                self._say(f"  {name}  lost its worker ({event.data['reason']}); goes on from what is kept of it")
            case "ended":
                if self.progress and digest in self.tasks:
                    self.progress.remove_task(self.tasks.pop(digest))
                seconds, error = time.monotonic() - self.began[digest], event.data["error"]
                accuracy = (
                    f", {_images(recipe)} accuracy {self.accuracy[digest]:.4f}" if digest in self.accuracy else ""
                )
                said = f"{event.data['state']} after {seconds:.0f} s{accuracy}{': ' + error if error else ''}"
                self._say(f"  {name}  {said}")

    def _begin(self, digest: str, name: str, total: int, done: int) -> None:
        self.began[digest] = time.monotonic()
        if done and digest not in self.tasks:
            self._count(done)
            self._say(f"  {name}  goes on after {done} epoch{'s' * (done != 1)}")
        if self.progress and digest not in self.tasks:
            self.tasks[digest] = self.progress.add_task(name, total=total, completed=done, acc="", rate="", left="")

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)

    def _count(self, epochs: int) -> None:
        """So many epochs of all runs are trained: on with the bar of the whole, once there is something to train."""
        self.epochs_left -= epochs
        if self.progress is None:
            return
        if self.whole is None:
            self.whole = self.progress.add_task("all runs", total=self.epochs_left, acc="", rate="", left="")
            return
        pace_s = (time.monotonic() - self.started) / max(1, self.heard)
        self.progress.update(
            self.whole, advance=epochs, left=_clock(self.epochs_left * pace_s) if self.heard > 1 else ""
        )

    def _advance(self, digest: str, row: Epoch) -> None:
        self.accuracy[digest] = row.val_acc
        self.heard += 1
        self._count(1)
        if not self.progress or digest not in self.tasks:
            return
        task_id = self.tasks[digest]
        task = next(task for task in self.progress.tasks if task.id == task_id)
        done, trained = int(task.completed) + 1, self.trained.setdefault(digest, [])
        trained.append(row.seconds)
        pace_s = sum(trained[-PACE_OVER:]) / len(trained[-PACE_OVER:])
        left_s = ((task.total or done) - done) * pace_s
        self.progress.update(
            task_id,
            completed=done,
            acc=f"val {row.val_acc:.3f}",
            rate=f"{1 / pace_s:.1f} epochs/s",
            left=_clock(left_s),
        )


def _clock(seconds: float) -> str:
    """
    >>> _clock(75.0), _clock(7500.0)
    ('1:15 left', '2:05:00 left')
    """
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d} left" if hours else f"{rest // 60}:{rest % 60:02d} left"


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


def title(recipe: Recipe) -> str:
    name = label(recipe)
    if name not in METHODS:
        return short_title(recipe)
    title = f"{METHODS[name][0]}, {recipe}" if recipe.remedies else METHODS[name][0]
    return f"{name:<9} {title}{_seed(recipe)}"


def short_title(recipe: Recipe) -> str:
    return label(recipe) + _seed(recipe)


def _images(recipe: Recipe) -> str:
    return "test" if recipe.held_out is None else "held-out"


def _seed(recipe: Recipe) -> str:
    """Nothing for the published seed."""
    return "" if recipe.seed == PUBLISHED_SEED else f", seed {recipe.seed}"
