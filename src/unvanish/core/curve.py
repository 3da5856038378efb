"""The curve of a training, epoch by epoch, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class Epoch:
    """One epoch of one stage; both count from 1. Losses are means over batches, accuracies fractions.

    NaN: there are no classes to be right about, or nothing is held out. `seconds` is the time it took; of an
    ensemble, the run's share of it.
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
    def of(cls, curve: Sequence[Epoch], state: str, error: str | None = None) -> "Outcome":
        reached = next((i for i, row in enumerate(curve) if row.val_acc >= 0.7), None)
        return cls(
            state=state,
            epochs=len(curve),
            seconds=sum(row.seconds for row in curve),
            last_val_acc=curve[-1].val_acc if curve and isfinite(curve[-1].val_acc) else None,
            best_val_acc=max((row.val_acc for row in curve if isfinite(row.val_acc)), default=None),
            seconds_to_70=None if reached is None else sum(row.seconds for row in curve[: reached + 1]),
            error=error,
        )
