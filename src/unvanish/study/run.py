"""`uv.run`: train one recipe, or a setup of one's own, in this process."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from unvanish.core.arguments import a_flag, a_function, a_text, at_least_one, batches_of_pairs, in_brief, seed_number
from unvanish.core.curve import Epoch
from unvanish.core.errors import RecipeError, StoreError
from unvanish.core.recipe import Recipe
from unvanish.core.setup import Setup
from unvanish.data.known import data_named
from unvanish.store.chunk import Chunk
from unvanish.store.protocol import Header, Start
from unvanish.store.record import Record
from unvanish.store.store import Store
from unvanish.study.training import MEASURE_EVERY, check_fit, chunks, header, training
from unvanish.train.batches import GivenData
from unvanish.train.environment import environment
from unvanish.train.group import Run
from unvanish.train.process import device_named, reproducible_process
from unvanish.train.step import OnStep

UNTIL_STOPPED = 10**9  # epochs: a number of steps ends the training before


def run(
    what: Recipe | Setup,
    batches: Iterable[Any] | int | None = None,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    held_out: Iterable[Any] | None = None,
    on_step: OnStep | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    store: str | Path | None = None,
    name: str | None = None,
    fresh: bool = False,
    device: str | None = None,
    seed: int = 0,
    measure_every: int | None = None,
    progress: bool | None = None,
) -> Record:
    """Train a recipe, or a setup on batches of your own, in this process; gives everything that was measured.

    what           a `Recipe`, which says everything; or a `Setup`, whose model is left as it is: the trained weights
                   are in the record
    batches        for a setup: an iterable of (input, target), gone through once an epoch
    epochs, steps  the length: of a recipe other than its own; of a setup so many epochs (default 1), or so many steps
    held_out       for a setup: batches that are evaluated after each epoch
    on_step        called with the number of each step in its epoch and its loss, a tensor; True ends the training
    on_epoch       called with each `Epoch` as it ends
    store, name    a folder or the URL of a database that keeps the run, and for a setup what it is called there. What
                   has ended is read instead of trained again unless `fresh`; a recipe that was interrupted goes on from
                   its last checkpoint
    device         cpu, cuda, …; by default CUDA where there is one for a recipe, the model's own for a setup
    seed           for a setup: of torch's random stream, from which `setup.build()` and dropout draw
    measure_every  every so many steps of an epoch, its first among them; a run that has begun keeps its own number. By
                   default every step where the native step is taken, which measures almost for nothing, else every 10th
    progress       whether to show it; by default in a terminal and in a notebook

    Raises `RecipeError` where arguments do not go together.
    """
    if isinstance(batches, int) and epochs is None:  # version 0.1: run(recipe, 5)
        warnings.warn("run(recipe, 5) is run(recipe, epochs=5) now", DeprecationWarning, stacklevel=2)
        batches, epochs = None, batches
    _check_counts(epochs=epochs, steps=steps, measure_every=measure_every)
    seed_number("seed", seed)
    a_flag("fresh", fresh)
    for key, function in (("on_step", on_step), ("on_epoch", on_epoch)):
        if function is not None:
            a_function(key, function)
    if progress is not None:
        a_flag("progress", progress)
    if name is not None:
        a_text("name", name)
    if isinstance(what, Setup):
        if batches is None or isinstance(batches, int):
            raise RecipeError("run() of a setup needs batches: an iterable of (input, target)")
        if store is not None and name is None:
            raise RecipeError("a setup is kept under a name: run(setup, batches, store=…, name='…')")
        if steps is not None and len(what.stages) > 1:
            raise RecipeError("a training in stages shares out its epochs: give epochs, and no steps")
        held_out = () if held_out is None else held_out
        batches_of_pairs("batches", batches)
        batches_of_pairs("held_out", held_out)
        given = GivenData(batches, list(held_out) if isinstance(held_out, Iterator) else held_out, steps=steps)
        return _run_setup(
            what,
            given,
            epochs,
            on_step,
            on_epoch,
            store,
            name,
            fresh,
            device,
            seed,
            measure_every or MEASURE_EVERY,
            progress,
        )
    if not isinstance(what, Recipe):
        raise RecipeError(
            f"run() takes a recipe, as uv.baseline() or uv.method('5') gives, or a Setup; not {in_brief(what)}"
        )
    if batches is not None or steps is not None or on_step is not None or name is not None:
        raise RecipeError(
            "a recipe says its data, length and name itself: batches, steps, on_step and name go with a Setup"
        )
    recipe = what.but(epochs=epochs) if epochs is not None else what
    return _run_recipe(recipe, on_epoch, store, fresh, device, measure_every, progress)


def _check_counts(**counts: Any) -> None:
    for name, count in counts.items():
        if count is not None:
            at_least_one(name, count)


def _run_recipe(
    recipe: Recipe,
    on_epoch: Callable[[Epoch], None] | None,
    store: str | Path | None,
    fresh: bool,
    device: str | None,
    measure_every: int | None,
    progress: bool | None,
) -> Record:
    where, data = device_named(device), data_named(recipe.data)
    check_fit(recipe, data)
    with Store.in_memory() if store is None else Store.writer(store) as kept:
        start = kept.begin(recipe, header(recipe, where, measure_every), fresh=fresh)
        _refuse_elsewhere(start, kept)
        if not start.ended:
            with reproducible_process(), _shown(progress, sum(recipe.stage_epochs()), start.epochs) as advance:
                for item in training(
                    recipe, data, where, start.checkpoint, measure_every=start.environment["measure_every"]
                ):
                    _deal_with(item, lambda chunk: kept.add(recipe.digest(), chunk), on_epoch, advance)
        return kept.record(recipe.digest())


def _run_setup(
    setup: Setup,
    data: GivenData,
    epochs: int | None,
    on_step: OnStep | None,
    on_epoch: Callable[[Epoch], None] | None,
    store: str | Path | None,
    name: str | None,
    fresh: bool,
    device: str | None,
    seed: int,
    measure_every: int,
    progress: bool | None,
) -> Record:
    own = next((tensor.device for tensor in setup.model.parameters()), torch.device("cpu"))
    where = own if device is None else device_named(device)
    data.device = where
    length = epochs if epochs is not None else 1 if data.steps is None else UNTIL_STOPPED
    total = sum(stage.epochs(length) for stage in setup.stages) if data.steps is None else None
    about = Header(environment(where) | {"step": "plain", "measure_every": measure_every}, setup.layers)
    with Store.in_memory() if store is None else Store.writer(store) as kept:
        digest, start = kept.begin_named(name or repr(setup), about, fresh=fresh)
        _refuse_elsewhere(start, kept)
        if start.ended:
            return kept.record(digest)
        if start.epochs:  # its batches cannot be gone on with where they were left
            digest, _ = kept.begin_named(name or repr(setup), about, fresh=True)
        with reproducible_process(), _shown(progress, total, 0) as advance:
            training_of = chunks(
                [Run(setup, length, seed)], data, where, measure_every=measure_every, on_step=on_step, fast=False
            )
            for _, item in training_of:
                _deal_with(item, lambda chunk: kept.add(digest, chunk), on_epoch, advance)
        return kept.record(digest)


def _refuse_elsewhere(start: Start, store: Store) -> None:
    if start.elsewhere is not None:
        raise StoreError(
            f"{start.elsewhere} is training this run in {store}; wait for it. If that process has died, its claim runs "
            "out by itself, within a minute"
        )


def _deal_with(
    item: Epoch | Chunk,
    keep: Callable[[Chunk], None],
    on_epoch: Callable[[Epoch], None] | None,
    advance: Callable[[Epoch], None],
) -> None:
    if isinstance(item, Chunk):
        keep(item)
        return
    advance(item)
    if on_epoch:
        on_epoch(item)


@contextmanager
def _shown(progress: bool | None, total: int | None, done: int) -> Iterator[Callable[[Epoch], None]]:
    """Progress on standard error, or in the notebook's cell."""
    console = Console(stderr=True)
    if not (progress if progress is not None else console.is_terminal or console.is_jupyter):
        yield lambda _row: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=total, completed=done)

        def advance(row: Epoch) -> None:
            acc = row.val_acc if row.val_acc == row.val_acc else row.train_acc
            shown = f"loss {row.train_loss:.4g}" + (f", acc {acc:.3f}" if acc == acc else "")
            bar.update(task, advance=1, description=shown)

        yield advance
