"""A training of a repair: it can be gone on with, and says how it does on held-out batches."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unvanish.core.setup import Loss
from unvanish.core.table import Array
from unvanish.diagnosis.repair.change import Treated
from unvanish.diagnosis.repair.score import scores
from unvanish.train.batches import Batch
from unvanish.train.step import plain_steps


@dataclass
class Training:
    """`taken` steps; `losses` before each, in the units of the loss that it is trained with."""

    treated: Treated
    stopped: Callable[[], bool] = lambda: False
    losses: list[float] = field(default_factory=list)

    @property
    def diverged(self) -> bool:
        return bool(self.losses) and not math.isfinite(self.losses[-1])

    def go_on(self, batches: Iterable[Batch]) -> None:
        """Take a step with each batch, but none after a loss that is not finite."""
        if self.diverged:
            return

        def note(_number: int, loss: Tensor) -> bool:
            self.losses.append(float(loss))
            return self.diverged or self.stopped()

        model, optimizer = self.treated.model, self.treated.optimizer
        model.train()
        with torch.enable_grad():
            way = plain_steps(model, model, self.treated.loss_fn, optimizer, lambda _step: False)
            way.run(batches, on_step=note)

    def scores(self, metric: str, batches: Sequence[Batch], loss: Loss) -> Array:
        """Of each held-out batch, by the loss that was given where the metric is a loss."""
        return scores(metric, self.treated.model, batches, loss)


def seconds_a_step(training: Training, batches: Sequence[Batch], steps: int = 3) -> float:
    """Of a few steps, the fastest."""
    found = []
    for index in range(steps):
        began = time.perf_counter()
        training.go_on([batches[index % len(batches)]])
        found.append(time.perf_counter() - began)
    return min(found)
