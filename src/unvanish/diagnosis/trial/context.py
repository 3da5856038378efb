"""The trial context: the copy that is examined and all that is needed to run it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import nn

from unvanish.core.blocks import Block
from unvanish.core.setup import Loss
from unvanish.diagnosis.evidence.parts import main_output
from unvanish.diagnosis.evidence.simple import Simple, simple_models, skill_of_network
from unvanish.diagnosis.trial.changes import Change
from unvanish.diagnosis.trial.cost import Operations
from unvanish.diagnosis.trial.isolation import Deadline
from unvanish.diagnosis.trial.learning import LEAST, Question, Quietly, compares, way_to_evaluate, without_dropout
from unvanish.diagnosis.trial.trial import ENOUGH, Trial, attempt
from unvanish.measure.graph.layers import names_of
from unvanish.train.batches import Batch

T = TypeVar("T")
BEHIND = 0.4  # of a simple model's skill: networks that learn come further in a hundred steps
SIMPLE = 0.2  # the skill of a simple model that is worth comparing with
TRAINED = 8  # batches to train on at most, and at most half of all
LONGER = 5  # times the steps, for the trial as it is, of a network that costs little
AFFORDED = 4e10  # floating-point operations of its forward passes: some two to four seconds of training on one core
FEW = 48  # samples: of fewer held back none prove anything, so all are trained on and asked


@dataclass(frozen=True, eq=False, repr=False)
class TrialContext:
    """A model, an optimizer over it if there is one, and the batches; of these the later ones are held out.

    `following` are the batches that were not taken, of `loader`. `predicts`: the outputs are scores of classes, or the
    numbers of the targets. `failed`: what could not be looked at, and why.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer | None
    batches: Sequence[Batch]
    loss: Loss
    steps: int
    deadline: Deadline = field(default_factory=Deadline)
    blocks: tuple[Block, ...] = ()
    following: Iterator[Any] = field(default_factory=lambda: iter(()))
    loader: Any = None
    predicts: bool = False
    failed: dict[str, str] = field(default_factory=dict)

    def safely(self, what: str, look: Callable[..., T], *arguments: Any) -> T | None:
        """What it finds; `None`, and the reason in `failed`, where a user's model, loss or data are not up to it."""
        try:
            return look(*arguments)
        except Exception as error:  # whatever users write
            self.failed[what] = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            return None

    @property
    def train(self) -> Sequence[Batch]:
        return self.batches if self.few else self.batches[: self._held_from]

    @property
    def held(self) -> Sequence[Batch]:
        return self.batches if self.few else self.batches[self._held_from :]

    @property
    def few(self) -> bool:
        """So few samples that none are held back."""
        return sum(batch.size for batch in self.batches[self._held_from :]) < FEW

    @property
    def held_samples(self) -> int:
        return sum(batch.size for batch in self.held)

    @property
    def _held_from(self) -> int:
        """Where the batches that are held back begin."""
        return min(TRAINED, max(1, (len(self.batches) + 1) // 2)) if len(self.batches) > 1 else 0

    def attempt(
        self,
        *,
        rate: float = 1.0,
        steps: int | None = None,
        change: Change | None = None,
        measured: bool = False,
        whole: bool = False,
    ) -> Trial:
        return attempt(
            self.model,
            self.optimizer or torch.optim.SGD([p for p in self.model.parameters() if p.requires_grad], lr=1.0),
            self.train or self.held,
            self.held,
            self.loss,
            steps=self.steps if steps is None else steps,
            deadline=self.deadline,
            question=self.question,
            rate=rate,
            measured=measured,
            whole=whole,
            change=change,
        )

    @cached_property
    def long(self) -> int:
        """Steps of the trial as it is: a network may learn late, or for a while only."""
        with self.quietly(), torch.random.fork_rng(devices=[]), Operations() as counter:
            (self.train or self.held)[0].output_of(self.model)
        afforded = int(AFFORDED / max(1, counter.total))
        return max(self.steps, min(LONGER * self.steps, afforded))

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

    @cached_property
    def question(self) -> Question:
        return Question(self.quietly, self.compares, self.few)

    @cached_property
    def simple(self) -> Simple | None:
        """What simple models learn from these batches."""
        return None if self.few else self.safely("simple models", simple_models, self.train, self.held)

    def skill(self, model: nn.Module) -> float | None:
        """Of the model as it is now, on the batches that are held out, in `train()` without dropout; `None` where its
        outputs are neither scores of classes nor the numbers of the targets."""
        if not self.predicts:
            return None
        return self.safely("predictions", self._skill, model)

    def keeps_up(self, trial: Trial) -> bool | None:
        """Whether it predicts about as well as a simple model the same held-out samples; `None` where that says
        nothing."""
        if trial.had_learned or trial.steps < ENOUGH or self.simple is None or not math.isfinite(trial.losses[-1]):
            return None
        best = self.simple.skill[self.simple.best]
        skill = self.skill(trial.model) if best >= SIMPLE else None
        tells = bool(trial.gap.losses) or trial.gap.relative >= LEAST
        return None if skill is None else skill >= BEHIND * best and tells

    def _skill(self, model: nn.Module) -> float | None:
        with self.quietly(), without_dropout(model):
            outputs = [main_output(batch.output_of(model), batch.size) for batch in self.held]
        found = [one for one in outputs if one is not None]
        return skill_of_network(found, self.held) if len(found) == len(outputs) else None

    def changed(self, change: Change) -> "TrialContext":
        """The same with other batches."""
        return replace(self, batches=change.batches(self.batches))
