"""A trial: some optimizer steps on a copy, and whether the network learns by them."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import cycle, islice

import torch
from torch import Tensor, nn

from unvanish.core.nested import mapped
from unvanish.core.setup import Loss
from unvanish.core.table import Table
from unvanish.diagnosis.trial.changes import Change
from unvanish.diagnosis.trial.isolation import Deadline, copied
from unvanish.diagnosis.trial.learning import FAR, LEAST, PLAIN, Gap, Question
from unvanish.train.batches import Batch
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
    at_times  it had learned at two looks in a row
    fits     it fits the batches that it was trained on in the end, held-out ones or not
    model    the copy that was trained
    """

    rate: float
    losses: tuple[float, ...]
    before: Gap
    gap: Gap
    first: Table
    whole: bool
    model: nn.Module
    at_times: bool = False
    fits: bool = False

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
        """In the end; a network that has come to fit too few samples by heart has learned before."""
        if not math.isfinite(self.losses[-1]):
            return False
        return self.gap.learned(self.before) or (self.at_times and self.fits)

    @property
    def lost(self) -> bool:
        """It had learned, and does not know it any more."""
        return self.at_times and not self.learned


@dataclass
class _Looks:
    """Looks at a trial while it runs, and ends it where it has learned, diverged or run out of time."""

    model: nn.Module
    held: Sequence[Batch]
    loss: Loss
    question: Question
    steps: int
    deadline: Deadline
    whole: bool
    losses: list[float] = field(default_factory=list)

    at_times: bool = False

    def __post_init__(self) -> None:
        self.before = self.seen = self.question(self.model, self.held, self.loss)

    def __call__(self, _number: int, loss: Tensor) -> bool:
        self.losses.append(loss.item())
        if not math.isfinite(self.losses[-1]):
            self.seen = Gap(0.0, 0.0)
            return True
        every = LOOKS if not self.whole else max(LOOKS, self.steps // 10)
        if len(self.losses) % every == 0 or len(self.losses) == self.steps or self.deadline.passed:
            last, self.seen = self.seen, self.question(self.model, self.held, self.loss)
            self.at_times = self.at_times or (self.seen.learned(self.before) and last.learned(self.before))
            return self.deadline.passed or (self.at_times and not self.whole)
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
    question: Question,
    rate: float = 1.0,
    measured: bool = False,
    whole: bool = False,
    change: Change | None = None,
) -> Trial:
    """Take up to so many steps on a copy of both; stop as soon as it has learned, unless `whole`."""
    model, optimizer, copy = copied(model, optimizer, loss)
    loss = copy or loss
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * rate
    if change is not None:
        change.prepare(model, optimizer)
        batches, held = change.batches(batches), change.batches(held)
    looks = _Looks(model, held, loss, question, steps, deadline, whole)
    way = plain_steps(model, model, loss, optimizer, lambda step: measured and step < 2)
    taken = (Batch(mapped(torch.clone, batch.input), batch.target) for batch in islice(cycle(batches), steps))
    with change.within() if change is not None else nullcontext():
        way.run(taken, on_step=looks)
    losses = tuple(looks.losses)
    gone = not math.isfinite(losses[-1]) or losses[-1] > LOST * abs(losses[0])
    finished = gone or (steps >= ENOUGH and (len(losses) >= ENOUGH or not deadline.passed))
    (first,) = way.take()
    fits = whole and not gone and not looks.seen.learned(looks.before) and _fits(question(model, batches, loss))
    return Trial(rate, losses, looks.before, looks.seen, first, finished, model, looks.at_times, fits)


def _fits(gap: Gap) -> bool:
    return math.isfinite(gap.loss) and (bool(gap.losses) or (gap.relative >= PLAIN and gap.spreads >= FAR))
