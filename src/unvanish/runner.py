"""From a `Recipe` to its `Record`: the one place where everything meets."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unvanish.core.errors import RecipeError
from unvanish.core.packing import pack
from unvanish.core.progress import Chunk
from unvanish.core.recipe import Recipe
from unvanish.core.record import Epoch, Record
from unvanish.core.schedule import every
from unvanish.core.sites import layer_names
from unvanish.data.fashion_mnist import FashionMNIST, fashion_mnist
from unvanish.engine.checkpoint import Checkpoint
from unvanish.engine.cohort import Member, Plan
from unvanish.engine.ensemble import shape_of
from unvanish.engine.environment import environment
from unvanish.engine.process import device_named, reproducible_process
from unvanish.engine.step import step_for
from unvanish.engine.train import Ended, EpochDone, train_together
from unvanish.models import ALL as NETWORKS
from unvanish.probes import ALL as PROBES
from unvanish.remedies import ALL as REMEDIES
from unvanish.store.store import Store
from unvanish.store.tables import Header

__all__ = ["NETWORKS", "REMEDIES", "header", "run", "training"]  # a recipe can name any of these

SAVE_WITHIN_S = 5.0  # no more work than this, or than one epoch, is ever at risk
SAVING_SHARE = 20  # but saving, which takes long for a large ensemble, takes no more than a 20th of the time
MEASURE_EVERY = 10  # steps: 12 measurements in an epoch of 118, for a few per cent of the time


def run(
    recipe: Recipe,
    epochs: int | None = None,
    *,
    store: str | Path | None = None,
    fresh: bool = False,
    device: str | None = None,
    measure_every: int = MEASURE_EVERY,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Record:
    """Train one recipe in this process, and give everything that was measured.

    With a `store` (a folder), a finished recipe is read instead of trained again unless `fresh`, and an
    interrupted one goes on from its last checkpoint. The gradient flow is measured on every so many steps of
    an epoch, its first among them; a run that has begun keeps its own number. `on_epoch` is called after each epoch.
    """
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"run() takes a recipe, as uv.baseline() or uv.method('5') gives, not {recipe!r}")
    recipe = recipe.but(epochs=epochs) if epochs is not None else recipe
    where = device_named(device)
    with Store.in_memory() if store is None else Store.writer(store) as kept:
        start = kept.begin(recipe, header(recipe, where, measure_every), fresh=fresh)
        if not start.ended:
            with reproducible_process():
                for item in training(
                    recipe, fashion_mnist(), where, start.checkpoint, measure_every=start.environment["measure_every"]
                ):
                    if isinstance(item, Chunk):
                        kept.add(recipe.digest(), item)
                    elif on_epoch:
                        on_epoch(item)
        return kept.record(recipe.digest())


def header(
    recipe: Recipe, device: torch.device, measure_every: int = MEASURE_EVERY, *, ensemble: bool = False
) -> Header:
    """What a run is stored under besides its recipe."""
    setup = recipe.uninitialised()
    step = "ensemble" if ensemble else step_for(setup.model, setup.loss).name
    return Header(
        environment=environment(device) | {"step": step, "measure_every": measure_every},
        layers=layer_names(setup),
        probes={probe.name: probe.unit for probe in PROBES},
    )


def shape_of_recipe(recipe: Recipe) -> str | None:
    """Equal for recipes that can be trained as one ensemble; `None` for one that has to be trained alone."""
    shape = shape_of(recipe.uninitialised())
    return shape and repr((shape, recipe.epochs, recipe.batch, recipe.data, recipe.samples))


def training(
    recipe: Recipe,
    data: FashionMNIST,
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
    data: FashionMNIST,
    device: torch.device,
    checkpoints: Sequence[bytes | None],
    stop: Callable[[], bool] = lambda: False,
    measure_every: int = MEASURE_EVERY,
) -> Iterator[tuple[int, Epoch | Chunk]]:
    """The same of recipes of one `shape_of_recipe`, trained as one ensemble: each item with its recipe's number."""
    first = recipes[0]
    members = [
        Member(
            recipe.uninitialised(),
            Plan(recipe.epochs, recipe.batch, recipe.seed),
            Checkpoint.unpack(checkpoint) if checkpoint else None,
        )
        for recipe, checkpoint in zip(recipes, checkpoints, strict=True)
    ]
    rows: list[list[Epoch]] = [[] for _ in recipes]
    flow: list[dict[tuple[int, int], np.ndarray]] = [{} for _ in recipes]
    saved_at, saving = time.monotonic(), 0.0

    def taken(run: int) -> dict[str, Any]:
        kept = {"rows": tuple(rows[run]), "flow": flow[run]}
        rows[run], flow[run] = [], {}
        return kept

    for happened in train_together(
        members,
        FashionMNIST(train=data.train.first(first.samples), test=data.test),
        probes=PROBES,
        schedule=every(measure_every),
        device=device,
    ):
        epochs = [item for _, item in happened if isinstance(item, EpochDone)]
        stopping = bool(epochs) and stop()
        began = time.monotonic()
        at_risk = began - saved_at + sum(item.row.seconds for item in epochs)  # with the next epoch, of all runs
        due = stopping or at_risk > max(SAVE_WITHIN_S, SAVING_SHARE * saving)
        for run, item in happened:
            if isinstance(item, Ended):
                yield run, Chunk(item.state, **taken(run), weights=pack({}, item.weights))
                continue
            rows[run].append(item.row)
            flow[run].update({(item.row.stage, epoch): values for epoch, values in item.flow.items()})
            yield run, item.row
            if due:
                yield run, Chunk("unfinished", **taken(run), checkpoint=item.checkpoint().pack())
        if due:
            saved_at = time.monotonic()
            saving = saved_at - began
        if stopping:
            return
