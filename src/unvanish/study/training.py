"""From recipes to chunks: training as stores and workers see it."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch

from unvanish.core.curve import Epoch
from unvanish.core.errors import RecipeError
from unvanish.core.machine import own_version
from unvanish.core.optimizer import OPTIMIZERS, Optimizer
from unvanish.core.recipe import Recipe
from unvanish.core.serialisation import pack
from unvanish.core.table import Table
from unvanish.data.images import DataSet, scaled
from unvanish.data.known import data_named
from unvanish.measure.schedule import every
from unvanish.models import ALL as NETWORKS
from unvanish.remedies import ALL as REMEDIES
from unvanish.store.chunk import Chunk, chunk_of
from unvanish.store.protocol import Header
from unvanish.train.batches import Data
from unvanish.train.checkpoint import Checkpoint
from unvanish.train.ensemble import shape_of
from unvanish.train.environment import environment
from unvanish.train.group import Run
from unvanish.train.images import ImageData
from unvanish.train.leaves import leaf_sequence
from unvanish.train.loop import Ended, EpochDone, train
from unvanish.train.native.form import uncovered
from unvanish.train.native.library import missing
from unvanish.train.native.update import holds_others
from unvanish.train.taken import OnStep

__all__ = ["NETWORKS", "REMEDIES", "chunks", "header", "training"]  # a recipe can name any of these

EXAMPLE = 512  # training images, for initial weights that depend on the data
SAVE_WITHIN_S = 5.0  # no more work than this, or than one epoch, is ever at risk
SAVING_SHARE = 20  # but saving, which takes long for a large ensemble, takes no more than a 20th of the time
MEASURE_EVERY = 10  # steps: 12 measurements in an epoch of 118; the native step measures every one for less than 8 %


@lru_cache(maxsize=4096)
def _plan(recipe: Recipe) -> tuple[tuple[str, ...], str | None, str | None, int]:
    """Of a recipe's `structure`: its layers, why the native step does not cover it, its ensemble, and its size."""
    setup = recipe.uninitialised()
    optimizer, leaves = setup.optimizer, leaf_sequence(setup.model)
    if isinstance(optimizer, Optimizer):
        plain = uncovered(leaves, OPTIMIZERS[optimizer.name], optimizer.options, setup.loss_fn)
    else:  # one that a remedy changes, once it is made
        made = optimizer(setup.model.parameters())
        plain = uncovered(leaves, type(made), made.param_groups[0], setup.loss_fn)
        plain = plain or ("something is done before each step" if holds_others(made, leaves or ()) else None)
    return setup.layers, plain, shape_of(setup), sum(one.numel() for one in setup.model.parameters())


def header(
    recipe: Recipe,
    device: torch.device,
    measure_every: int | None = None,
    *,
    ensemble: bool = False,
    here: bool = True,
) -> Header:
    """What a run is stored under besides its recipe; of a run that is not trained `here`, only what is known before.

    Measured at every step, unless another number is given, where the native step is taken, else at every 10th.
    """
    layers, plain, *_ = _plan(recipe.structure())
    step = "ensemble" if ensemble else "plain"
    if device.type == "cpu" and not ensemble:
        reason = plain or missing()
        step = f"plain ({reason})" if reason else "native"
    steps = measure_every or (1 if step == "native" else MEASURE_EVERY)
    facts = environment(device) | {"step": step} if here else {"unvanish": own_version()}
    return Header(facts | {"measure_every": steps}, layers)


def shape_of_recipe(recipe: Recipe) -> str | None:
    """Equal for recipes that can be trained as one ensemble; `None` for one that has to be trained alone."""
    shape = _plan(recipe.structure())[2]
    return shape and repr((shape, recipe.epochs, recipe.batch, recipe.data, recipe.samples, recipe.held_out))


def size_of_recipe(recipe: Recipe) -> int:
    """How many numbers it trains."""
    return _plan(recipe.structure())[3]


def check_fit(recipe: Recipe, data: DataSet) -> None:
    """Raise `RecipeError` where a recipe's network does not take this data, `DataError` where it has too few images."""
    inputs, classes = getattr(recipe.network, "inputs", None), getattr(recipe.network, "classes", None)
    if inputs not in (None, data.inputs) or (classes is not None and classes < data.classes):
        raise RecipeError(
            f"{data.name} has inputs of {data.inputs:,} numbers and {data.classes} classes, and the network takes "
            f"{inputs:,} and has {classes}: uv.baseline(data=…) and --data make one that fits"
        )
    if recipe.held_out is not None:
        data.for_selection(recipe.held_out)
    if recipe.held_out and recipe.samples and recipe.held_out + recipe.samples > len(data.train):
        raise RecipeError(
            f"{recipe.samples:,} training images and {recipe.held_out:,} that are held out are more than the "
            f"{len(data.train):,} of {data.name}"
        )


def check_data(recipes: Iterable[Recipe]) -> None:
    """Here, once, before any worker asks: raise where a data set cannot be had or does not fit."""
    for name, those in groupby(sorted(recipes, key=lambda recipe: recipe.data), key=lambda recipe: recipe.data):
        data = data_named(name)
        for recipe in those:
            check_fit(recipe, data)


def training(
    recipe: Recipe,
    data: DataSet,
    device: torch.device,
    checkpoint: bytes | None = None,
    stop: Callable[[], bool] = lambda: False,
    measure_every: int = MEASURE_EVERY,
) -> Iterator[Epoch | Chunk]:
    """Train a recipe: each epoch as it ends, and from time to time a chunk to be kept.

    When `stop()` turns true, the training ends after the present epoch with a last chunk.
    """
    for _, item in training_together([recipe], data, device, [checkpoint], stop, measure_every):
        yield item


def training_together(
    recipes: Sequence[Recipe],
    data: DataSet,
    device: torch.device,
    checkpoints: Sequence[bytes | None],
    stop: Callable[[], bool] = lambda: False,
    measure_every: int = MEASURE_EVERY,
) -> Iterator[tuple[int, Epoch | Chunk]]:
    """The same of recipes of one `shape_of_recipe`, trained as one ensemble: each item with its recipe's number."""
    first = recipes[0]
    check_fit(first, data)
    data = data if first.held_out is None else data.for_selection(first.held_out)
    inputs = scaled(data.train.first(EXAMPLE).pixels_ND)
    runs = [
        Run(
            replace(recipe.uninitialised(), example=inputs),
            recipe.epochs,
            recipe.seed,
            Checkpoint.unpack(checkpoint) if checkpoint else None,
        )
        for recipe, checkpoint in zip(recipes, checkpoints, strict=True)
    ]
    images = ImageData(data.on(device, first.samples), first.batch, (len(runs),) if len(runs) > 1 else ())
    return chunks(runs, images, device, stop, measure_every)


def chunks(
    runs: Sequence[Run],
    data: Data,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
    measure_every: int = MEASURE_EVERY,
    *,
    on_step: OnStep | None = None,
    fast: bool = True,
) -> Iterator[tuple[int, Epoch | Chunk]]:
    """Train some runs of one kind: each epoch as it ends, and from time to time a chunk, with the run's number."""
    rows: list[list[Epoch]] = [[] for _ in runs]
    tables: list[list[Table]] = [[] for _ in runs]
    saved_at, saving = time.monotonic(), 0.0

    def taken(run: int, state: str, **rest: Any) -> Chunk:
        chunk = chunk_of(state, rows[run], tables[run], **rest)
        rows[run], tables[run] = [], []
        return chunk

    for happened in train(runs, data, schedule=every(measure_every), device=device, on_step=on_step, fast=fast):
        epochs = [item for _, item in happened if isinstance(item, EpochDone)]
        stopping = bool(epochs) and stop()
        began = time.monotonic()
        next_epoch = sum(item.row.seconds for item in epochs if not item.last)  # of all runs; 0 after the last one
        at_risk = began - saved_at + next_epoch
        due = stopping or (next_epoch > 0 and at_risk > max(SAVE_WITHIN_S, SAVING_SHARE * saving))
        for run, item in happened:
            if isinstance(item, Ended):
                yield run, taken(run, item.state, weights=pack({}, item.weights))
                continue
            rows[run].append(item.row)
            tables[run] += item.measured
            yield run, item.row
            if due:
                yield run, taken(run, "unfinished", checkpoint=item.checkpoint().pack())
        if due:
            saved_at = time.monotonic()
            saving = saved_at - began
        if stopping:
            return
