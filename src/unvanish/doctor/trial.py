"""A trial: some optimizer steps on a copy, and whether the network learns by them.

Whether it learns cannot be read from the fall of the loss: a network that ignores its inputs still learns the
frequencies of the classes, and what counts as a large fall depends on the loss. Asked instead is whether the
output has come to fit *its own* targets better than those of other samples,

    gap = (L̄ − L) / |L̄|,    L the loss of a batch that was not trained on, L̄ its mean over shuffled targets,

a permutation test: it is the same whatever the loss is multiplied by, about 0 for a network that cannot tell
its inputs apart, and it comes with its own uncertainty, the spread over shuffles.
"""
# B batch

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.doctor.batches import Batch, shuffled
from unvanish.doctor.untouched import copied

Loss = Callable[[Any, Any], Tensor]

SHUFFLES = 12
LOOKS = (5, 10)  # steps after which it is asked whether the network has learned already
ENOUGH = 10  # fewer steps prove nothing


@dataclass(frozen=True)
class Gap:
    """How much better the outputs fit their own targets than others': relative, and in spreads over shuffles."""

    relative: float
    spreads: float

    @property
    def learned(self) -> bool:
        """A fiftieth of the loss, and far outside of chance: networks that learn soon reach 10 spreads and more."""
        return self.relative >= 0.02 and self.spreads >= 6


@dataclass(frozen=True)
class Trial:
    """What came of some steps.

    rate     what the optimizer's learning rates were multiplied by
    steps    how many were taken
    losses   before each step
    gap      after them
    updates  ‖ΔW‖/‖W‖ of the first step, by weight
    whole    whether there was time for all the steps that were asked for, or for enough of them
    model    the copy that was trained
    """

    rate: float
    steps: int
    losses: tuple[float, ...]
    gap: Gap
    updates: dict[int, float]
    whole: bool
    model: nn.Module

    @property
    def diverged(self) -> bool:
        return not all(map(math.isfinite, self.losses)) or self.losses[-1] > 10 * abs(self.losses[0])

    @property
    def learned(self) -> bool:
        return math.isfinite(self.losses[-1]) and self.gap.learned


def gap(model: nn.Module, batch: Batch, loss: Loss) -> Gap:
    """The gap on a batch. Where no target can be shuffled, or the loss ignores it, it is unknown (NaN)."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        output = batch.output_of(model)
        own = loss(output, batch.target).item()
        others = [
            loss(output, shuffled(batch.target, torch.randperm(batch.size, generator=generator))).item()
            for _ in range(SHUFFLES)
        ]
    mean = sum(others) / SHUFFLES
    if not math.isfinite(own + mean):
        return Gap(0.0, 0.0)
    spread = math.sqrt(sum((other - mean) ** 2 for other in others) / (SHUFFLES - 1))
    if mean == 0 or (spread <= 1e-7 * abs(mean) and abs(mean - own) <= 1e-6 * abs(mean)):
        # all outputs are the same to within rounding; or the targets are
        return Gap(0.0, 0.0)
    return Gap((mean - own) / abs(mean), (mean - own) / max(spread, 1e-12 * abs(mean)))


def attempt(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    held: Batch,
    loss: Loss,
    *,
    steps: int,
    seconds: float,
    rate: float = 1.0,
) -> Trial:
    """Take up to so many steps on a copy of both; stop as soon as it has learned, or when the time is up."""
    model, optimizer = copied(model, optimizer)
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * rate
    began, losses, updates = time.perf_counter(), [], {}
    seen, taken, whole = Gap(0.0, 0.0), 0, True
    for step in range(steps):
        batch = batches[step % len(batches)]
        before = {} if step else {index: p.detach().clone() for index, p in enumerate(model.parameters())}
        optimizer.zero_grad()
        value = loss(batch.output_of(model), batch.target)
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            return Trial(rate, taken, tuple(losses), Gap(0.0, 0.0), updates, True, model)
        value.backward()
        optimizer.step()
        taken += 1
        for index, p in enumerate(model.parameters()):
            if index in before and p.requires_grad and p.dim() > 1:
                size = float(before[index].norm())
                updates[index] = float((p.detach() - before[index]).norm()) / size if size > 0 else math.nan
        if taken in LOOKS or taken == steps:
            seen = gap(model, held, loss)
            if seen.learned:
                break
        if time.perf_counter() - began > seconds and taken >= 3:
            whole = taken >= ENOUGH or losses[-1] > 10 * abs(losses[0])
            break
    if taken and not seen.learned:
        seen = gap(model, held, loss)
    return Trial(rate, taken, tuple(losses), seen, updates, whole, model)
