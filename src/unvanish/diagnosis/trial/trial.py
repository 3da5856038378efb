"""A trial: some optimizer steps on a copy, and whether the network learns by them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.setup import Loss
from unvanish.core.table import Table
from unvanish.diagnosis.trial.isolation import Deadline, copied
from unvanish.diagnosis.trial.learning import LEAST, Gap, Quietly, gap
from unvanish.train.batches import Batch, mapped
from unvanish.train.step import plain_steps

LOOKS = 5  # steps between two looks whether the network has learned already; two in a row must find so
ENOUGH = 10  # fewer steps prove nothing
LOST = 10.0  # times the first loss: so far up, it has diverged


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of some steps.

    rate     what the optimizer's learning rates were multiplied by
    losses   before each step
    before, gap   at first, and after the steps
    first    what was measured at the first steps, where that was asked for
    whole    whether all the steps that were asked for were taken, or enough of them
    model    the copy that was trained
    """

    rate: float
    losses: tuple[float, ...]
    before: Gap
    gap: Gap
    first: Table
    whole: bool
    model: nn.Module

    @property
    def steps(self) -> int:
        return len(self.losses)

    @property
    def diverged(self) -> bool:
        return not all(map(math.isfinite, self.losses)) or self.losses[-1] > LOST * abs(self.losses[0])

    @property
    def had_learned(self) -> bool:
        return self.before.plain

    @property
    def begins_to(self) -> bool:
        """Less than to have learned, but far beyond chance."""
        beyond = self.gap.spreads >= 12 and self.gap.relative - self.before.relative >= LEAST / 4
        return math.isfinite(self.losses[-1]) and beyond

    @property
    def learned(self) -> bool:
        return math.isfinite(self.losses[-1]) and self.gap.learned(self.before)


@dataclass
class _Looks:
    """Looks at a trial while it runs, and ends it where it has learned, diverged or run out of time."""

    model: nn.Module
    held: Sequence[Batch]
    loss: Loss
    quietly: Quietly
    steps: int
    deadline: Deadline
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.before = self.seen = gap(self.model, self.held, self.loss, self.quietly)

    def __call__(self, _number: int, loss: Tensor) -> bool:
        self.losses.append(loss.item())
        if not math.isfinite(self.losses[-1]):
            self.seen = Gap(0.0, 0.0)
            return True
        if len(self.losses) % LOOKS == 0 or len(self.losses) == self.steps or self.deadline.passed:
            last, self.seen = self.seen, gap(self.model, self.held, self.loss, self.quietly)
            return self.deadline.passed or (self.seen.learned(self.before) and last.learned(self.before))
        return False


def attempt(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    held: Sequence[Batch],
    loss: Loss,
    *,
    steps: int,
    deadline: Deadline,
    quietly: Quietly,
    rate: float = 1.0,
    measured: bool = False,
) -> Trial:
    """Take up to so many steps on a copy of both; stop as soon as it has learned."""
    model, optimizer, copy = copied(model, optimizer, loss)
    loss = copy or loss
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * rate
    looks = _Looks(model, held, loss, quietly, steps, deadline)
    way = plain_steps(model, model, loss, optimizer, lambda step: measured and step < 2)
    taken = (Batch(mapped(torch.clone, batch.input), batch.target) for batch in islice(cycle(batches), steps))
    way.run(taken, on_step=looks)
    losses = tuple(looks.losses)
    gone = not math.isfinite(losses[-1]) or losses[-1] > LOST * abs(losses[0])
    whole = gone or (steps >= ENOUGH and (len(losses) >= ENOUGH or not deadline.passed))
    (first,) = way.take()
    return Trial(rate, losses, looks.before, looks.seen, first, whole, model)


def control(
    batches: Sequence[Batch], held: Sequence[Batch], loss: Loss, output: Any, deadline: Deadline
) -> bool | None:
    """Whether a linear model learns from the same batches: where it does not either, the data prove nothing.

    `None` where there is no such model: inputs and outputs are not one tensor each.
    """
    x = batches[0].input
    if not (isinstance(x, Tensor) and x.is_floating_point() and isinstance(output, Tensor) and output.dim() == 2):
        return None
    features = x[0].numel()
    norm = nn.BatchNorm1d(features, affine=False) if len(x) > 1 else nn.Identity()
    linear = nn.Sequential(nn.Flatten(), norm, nn.Linear(features, output.shape[1])).to(x)
    optimizer = torch.optim.Adam(linear.parameters(), 1e-2)
    options = {"steps": 40, "deadline": deadline, "quietly": torch.no_grad}
    return attempt(linear, optimizer, batches, held, loss, **options).learned
