"""From a `Recipe` to its `Record`: the one place where everything meets."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from unvanish.core.packing import pack
from unvanish.core.progress import Chunk
from unvanish.core.recipe import Recipe
from unvanish.core.record import Epoch, Record
from unvanish.core.sites import layer_names
from unvanish.data.fashion_mnist import FashionMNIST, fashion_mnist
from unvanish.engine.checkpoint import Checkpoint
from unvanish.engine.environment import environment
from unvanish.engine.flow import every
from unvanish.engine.process import device_named, reproducible_process
from unvanish.engine.step import step_for
from unvanish.engine.train import Ended, Plan, train
from unvanish.models import ALL as NETWORKS
from unvanish.probes import ALL as PROBES
from unvanish.remedies import ALL as REMEDIES
from unvanish.store.store import Store
from unvanish.store.tables import Header

__all__ = ["NETWORKS", "REMEDIES", "header", "run", "training"]  # a recipe can name any of these

SAVE_WITHIN_S = 5.0  # no more work than this, or than one epoch, is ever at risk
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


def header(recipe: Recipe, device: torch.device, measure_every: int = MEASURE_EVERY) -> Header:
    """What a run is stored under besides its recipe."""
    setup = recipe.uninitialised()
    return Header(
        environment=environment(device)
        | {"step": step_for(setup.model, setup.loss).name, "measure_every": measure_every},
        layers=layer_names(setup),
        probes={probe.name: probe.unit for probe in PROBES},
    )


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
    rows: list[Epoch] = []
    flow: dict[tuple[int, int], np.ndarray] = {}
    saved_at = time.monotonic()
    for item in train(
        recipe.uninitialised(),
        Plan(recipe.epochs, recipe.batch, recipe.seed),
        FashionMNIST(train=data.train.first(recipe.samples), test=data.test),
        probes=PROBES,
        schedule=every(measure_every),
        device=device,
        start=Checkpoint.unpack(checkpoint) if checkpoint else None,
    ):
        if isinstance(item, Ended):
            yield Chunk(item.state, tuple(rows), flow, weights=pack({}, item.weights))
            return
        rows.append(item.row)
        flow.update({(item.row.stage, epoch): values for epoch, values in item.flow.items()})
        yield item.row
        stopping = stop()
        if stopping or time.monotonic() - saved_at + item.row.seconds > SAVE_WITHIN_S:
            yield Chunk("unfinished", tuple(rows), flow, checkpoint=item.checkpoint().pack())
            rows, flow, saved_at = [], {}, time.monotonic()
        if stopping:
            return
