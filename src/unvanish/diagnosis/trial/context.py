"""The trial context: the copy that is examined and all that is needed to run it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import nn

from unvanish.core.blocks import Block
from unvanish.core.setup import Loss
from unvanish.diagnosis.examination import Inputs
from unvanish.diagnosis.trial.isolation import Deadline
from unvanish.diagnosis.trial.learning import Quietly, compares, way_to_evaluate
from unvanish.diagnosis.trial.trial import Trial, attempt, control
from unvanish.measure.graph.layers import names_of
from unvanish.train.batches import Batch, mapped

TRAINED = 8  # batches to train on at most, and at most half of all


@dataclass(frozen=True, eq=False)
class TrialContext:
    """A model, an optimizer over it if there is one, and the batches; of these the later ones are held out."""

    model: nn.Module
    optimizer: torch.optim.Optimizer | None
    batches: Sequence[Batch]
    loss: Loss
    steps: int
    deadline: Deadline = field(default_factory=Deadline)
    blocks: tuple[Block, ...] = ()

    @property
    def train(self) -> Sequence[Batch]:
        return self.batches[: self._held_from]

    @property
    def held(self) -> Sequence[Batch]:
        return self.batches[self._held_from :]

    @property
    def held_samples(self) -> int:
        return sum(batch.size for batch in self.held)

    @property
    def _held_from(self) -> int:
        """Where the batches that are held back begin."""
        return min(TRAINED, max(1, (len(self.batches) + 1) // 2)) if len(self.batches) > 1 else 0

    def attempt(
        self, *, rate: float = 1.0, steps: int | None = None, inputs: Inputs | None = None, measured: bool = False
    ) -> Trial:
        context = self.with_inputs(inputs) if inputs else self
        return attempt(
            self.model,
            self.optimizer or torch.optim.SGD([p for p in self.model.parameters() if p.requires_grad], lr=1.0),
            context.train or context.held,
            context.held,
            self.loss,
            steps=self.steps if steps is None else steps,
            deadline=self.deadline,
            quietly=self.quietly,
            rate=rate,
            measured=measured,
        )

    @cached_property
    def names(self) -> dict[int, str]:
        """Of the model's parameters, by `id`."""
        return names_of(self.model, self.blocks)

    @cached_property
    def quietly(self) -> Quietly:
        return way_to_evaluate(self.model, self.held[0], self.loss)

    @cached_property
    def compares(self) -> bool:
        """Whether the loss depends on the targets."""
        return compares(self.model, self.held[0], self.loss, self.quietly)

    def control(self) -> bool | None:
        """Whether a linear model learns from these batches."""
        with self.quietly():
            output = mapped(torch.detach, self.held[0].output_of(self.model))
        return control(self.train or self.held, self.held, self.loss, output, self.deadline)

    def with_inputs(self, inputs: Inputs) -> "TrialContext":
        """The same with inputs brought to mean 0 and standard deviation 1."""
        return replace(self, batches=[standardised(batch, inputs) for batch in self.batches])


def standardised(batch: Batch, inputs: Inputs) -> Batch:
    std = inputs.std or 1.0
    return Batch(mapped(lambda t: (t - inputs.mean) / std if t.is_floating_point() else t, batch.input), batch.target)
