"""What is kept of a training: the curve, the series of the probes, the outcome."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from unvanish.core.recipe import Recipe


@dataclass(frozen=True)
class Epoch:
    """One epoch of one stage; both count from 1. Losses are means over batches, accuracies fractions.

    `seconds` is the time it took; of an ensemble, the run's share of it.
    """

    stage: int
    epoch: int
    train_loss: float
    train_acc: float
    val_loss: float
    val_acc: float
    seconds: float


CURVE_COLUMNS = tuple(Epoch.__dataclass_fields__)


@dataclass(frozen=True)
class Series:
    """What one probe measured: `values[s, l]` is step `steps[s]` = (stage, epoch) at `layers[l]`.

    Epoch 0 is the network at the start of a stage, before its first step; epoch e ≥ 1 is the mean
    over the measured steps of that epoch. NaN: the layer was not there, frozen, or has no such quantity.
    """

    name: str
    unit: str
    layers: tuple[str, ...]
    steps: tuple[tuple[int, int], ...]
    values: np.ndarray  # [S, L] float64

    def table(self) -> dict[str, list[Any]]:
        """Long form, one row a layer and step, ready for `pandas.DataFrame`."""
        rows = [(*step, layer) for step in self.steps for layer in self.layers]
        return {
            "stage": [row[0] for row in rows],
            "epoch": [row[1] for row in rows],
            "layer": [row[2] for row in rows],
            self.name: self.values.ravel().tolist(),
        }


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    state            "finished", "diverged" (a loss was not finite), "failed" (with the error) or "unfinished"
    best_val_acc     the highest; it is looked for on the images that it is measured on, as published
    seconds_to_70    training time until the validation accuracy first reached 0.70, or None
    """

    state: str
    epochs: int
    seconds: float
    last_val_acc: float | None
    best_val_acc: float | None
    seconds_to_70: float | None
    error: str | None = None

    @classmethod
    def of(cls, curve: list[Epoch], state: str, error: str | None = None) -> "Outcome":
        reached = next((i for i, row in enumerate(curve) if row.val_acc >= 0.7), None)
        return cls(
            state=state,
            epochs=len(curve),
            seconds=sum(row.seconds for row in curve),
            last_val_acc=curve[-1].val_acc if curve else None,
            best_val_acc=max((row.val_acc for row in curve), default=None),
            seconds_to_70=None if reached is None else sum(row.seconds for row in curve[: reached + 1]),
            error=error,
        )


def diverged(row: Epoch) -> bool:
    return not (math.isfinite(row.train_loss) and math.isfinite(row.val_loss))


@dataclass(frozen=True)
class Record:
    """One run, as the store keeps it."""

    recipe: Recipe
    environment: dict[str, Any]
    epochs: tuple[Epoch, ...]
    series: dict[str, Series]
    outcome: Outcome
    weights: dict[str, Tensor] | None = None

    @property
    def curve(self) -> dict[str, list[Any]]:
        """The epochs by column, ready for `pandas.DataFrame`."""
        return {column: [getattr(row, column) for row in self.epochs] for column in CURVE_COLUMNS}
