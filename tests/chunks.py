"""Runs that were never trained, as a store is given them."""

import numpy as np
import torch

import unvanish as uv
from unvanish.core.curve import Epoch
from unvanish.core.serialisation import pack
from unvanish.core.table import Table
from unvanish.store.chunk import Chunk
from unvanish.store.protocol import Header

LAYERS = ("hidden1", "output")
HEADER = Header({"torch": "2", "processor": "one", "measure_every": 1}, LAYERS)


def recipe(seed: int = 0, epochs: int = 3) -> uv.Recipe:
    return uv.baseline(hidden=(8,), samples=512, epochs=epochs, seed=seed)


def checkpoint(last: int) -> bytes:
    return pack({"epoch": last}, {"w": torch.full((3,), float(last))})


def chunk(first: int, last: int, state: str = "unfinished", *, measured: bool = True) -> Chunk:
    """So many epochs, with what was measured in them; of the second one the loss is not a number."""
    epochs = range(first, last + 1)
    rows = tuple(Epoch(1, e, 1 / e, 0.5, float("nan") if e == 2 else 2 / e, -0.0, 0.1) for e in epochs)
    backward, dead = [[e / 7, 1e-300] for e in epochs], [[np.nan, 0.25] for _ in epochs]
    values = {"backward_rms": np.array(backward), "dead": np.array(dead)}
    table = Table(LAYERS, tuple((1, e) for e in epochs), values, {"hidden1": 8, "output": 10}) if measured else Table()
    if state == "unfinished":
        return Chunk(state, rows, table, checkpoint=checkpoint(last))
    return Chunk(state, rows, table, weights=pack({}, {"w": torch.full((3,), float(last))}))
