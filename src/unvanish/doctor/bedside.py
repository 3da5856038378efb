"""What is examined and all that is needed to run it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from unvanish.core.check import Inputs
from unvanish.doctor.batches import Batch, mapped
from unvanish.doctor.trial import Loss, Trial, attempt, compares, control

TRAINED = 8  # batches to train on at most, and at most half of all
SECONDS = 2.5  # for one trial; what takes longer is stopped, and is no proof then


@dataclass(frozen=True)
class Bedside:
    """The copy that is examined, and all that is needed to run it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer | None
    batches: Sequence[Batch]
    loss: Loss
    steps: int

    @property
    def train(self) -> Sequence[Batch]:
        return self.batches[: self._held_from]

    @property
    def held(self) -> Sequence[Batch]:
        return self.batches[self._held_from :]

    @property
    def _held_from(self) -> int:
        """Where the batches that are held back begin."""
        return min(TRAINED, max(1, (len(self.batches) + 1) // 2)) if len(self.batches) > 1 else 0

    def attempt(self, *, rate: float = 1.0, steps: int | None = None, inputs: Inputs | None = None) -> Trial:
        bed = self.with_inputs(inputs) if inputs else self
        return attempt(
            self.model,
            self.optimizer or torch.optim.SGD([p for p in self.model.parameters() if p.requires_grad], lr=1.0),
            bed.train or bed.held,
            bed.held,
            self.loss,
            steps=self.steps if steps is None else steps,
            seconds=SECONDS,
            rate=rate,
        )

    @cached_property
    def compares(self) -> bool:
        """Whether the loss depends on the targets."""
        return compares(self.model, self.held[0], self.loss)

    def control(self) -> bool | None:
        """Whether a linear model learns from these batches."""
        with torch.no_grad():
            output = self.held[0].output_of(self.model)
        return control(self.train or self.held, self.held, self.loss, output)

    def with_inputs(self, inputs: Inputs) -> "Bedside":
        """The same with inputs brought to mean 0 and standard deviation 1."""
        return replace(self, batches=[standardised(batch, inputs) for batch in self.batches])


def standardised(batch: Batch, inputs: Inputs) -> Batch:
    std = inputs.std or 1.0
    return Batch(mapped(lambda t: (t - inputs.mean) / std if t.is_floating_point() else t, batch.input), batch.target)
