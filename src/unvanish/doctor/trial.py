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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.structure import DROPOUTS
from unvanish.doctor.batches import Batch, mapped, shuffled
from unvanish.doctor.untouched import copied

Loss = Callable[[Any, Any], Tensor]

SHUFFLES = 12
LEAST = 0.02
LOOKS = 5  # steps between two looks whether the network has learned already; two in a row must find so
ENOUGH = 10  # fewer steps prove nothing


@dataclass(frozen=True)
class Gap:
    """How much better the outputs fit their own targets than others': relative, and in spreads over shuffles."""

    relative: float
    spreads: float

    @property
    def plain(self) -> bool:
        """More than there can be by chance before the first step."""
        return self.relative >= 10 * LEAST and self.spreads >= 6

    def learned(self, before: "Gap") -> bool:
        """A fiftieth of the loss, and far outside of chance: networks that learn soon reach 10 spreads and more.

        Some of it may be there by chance `before` the first step, where outputs happen to cluster by class; a
        network that was trained already has more than that.
        """
        grown = self.relative - before.relative >= LEAST or before.plain
        return grown and self.relative >= LEAST and self.spreads >= 6


@dataclass(frozen=True)
class Trial:
    """What came of some steps.

    rate     what the optimizer's learning rates were multiplied by
    steps    how many were taken
    losses   before each step
    before, gap   at first, and after the steps
    updates  ‖ΔW‖/‖W‖ of the first step, by weight; where that moved nothing, of the second
    whole    whether there was time for all the steps that were asked for, or for enough of them
    model    the copy that was trained
    """

    rate: float
    steps: int
    losses: tuple[float, ...]
    before: Gap
    gap: Gap
    updates: dict[int, float]
    whole: bool
    model: nn.Module

    @property
    def diverged(self) -> bool:
        return not all(map(math.isfinite, self.losses)) or self.losses[-1] > 10 * abs(self.losses[0])

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


def gap(model: nn.Module, batches: Sequence[Batch], loss: Loss) -> Gap:
    """The gap over some batches that were held back, each shuffled within itself."""
    generator = torch.Generator().manual_seed(0)
    own, others = 0.0, [0.0] * SHUFFLES
    with torch.no_grad(), _without_dropout(model):
        for batch in batches:
            output = batch.output_of(model)
            own += loss(output, batch.target).item() / len(batches)
            for index in range(SHUFFLES):
                order = torch.randperm(batch.size, generator=generator)
                others[index] += loss(output, shuffled(batch.target, order)).item() / len(batches)
    mean = sum(others) / SHUFFLES
    if not math.isfinite(own + mean) or mean == 0:
        return Gap(0.0, 0.0)
    spread = math.sqrt(sum((other - mean) ** 2 for other in others) / (SHUFFLES - 1))
    if spread <= 1e-7 * abs(mean) and abs(mean - own) <= 1e-6 * abs(mean):
        return Gap(0.0, 0.0)  # all outputs are the same to within rounding; or the targets are
    return Gap((mean - own) / abs(mean), (mean - own) / max(spread, 1e-12 * abs(mean)))


def compares(model: nn.Module, batch: Batch, loss: Loss) -> bool:
    """Whether the loss compares outputs with targets at all: of noise in their place it must depend on the order.

    The loss of some models is part of their output, and the permutation test then says nothing.
    """
    generator = torch.Generator().manual_seed(0)

    def noise(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return torch.rand(tensor.shape, generator=generator).to(tensor) * 0.8 + 0.1  # also a probability

    with torch.no_grad():
        output = mapped(noise, batch.output_of(model))
        order = torch.randperm(batch.size, generator=generator)
        one, other = (loss(output, target).item() for target in (batch.target, shuffled(batch.target, order)))
    return one != other and batch.size > 1


def control(batches: Sequence[Batch], held: Sequence[Batch], loss: Loss, output: Any) -> bool | None:
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
    return attempt(linear, optimizer, batches, held, loss, steps=40, seconds=1.0).learned


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """Its noise would hide what was learned. Normalisations stay in their mode: few have statistics yet."""
    noisy = [module for module in model.modules() if isinstance(module, DROPOUTS) and module.training]
    for module in noisy:
        module.training = False
    try:
        yield
    finally:
        for module in noisy:
            module.training = True


def attempt(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    held: Sequence[Batch],
    loss: Loss,
    *,
    steps: int,
    seconds: float,
    rate: float = 1.0,
) -> Trial:
    """Take up to so many steps on a copy of both; stop as soon as it has learned, or when the time is up."""
    model, optimizer, copy = copied(model, optimizer, loss)
    loss = copy or loss
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * rate
    began, losses, updates = time.perf_counter(), [], {}
    before = seen = gap(model, held, loss)
    taken, whole = 0, steps >= ENOUGH
    for step in range(steps):
        batch = batches[step % len(batches)]
        still = not any(updates.values())
        weights = {index: p.detach().clone() for index, p in enumerate(model.parameters())} if still else {}
        value = _step(model, optimizer, batch, loss)
        losses.append(value)
        if not math.isfinite(value):
            return Trial(rate, taken, tuple(losses), before, Gap(0.0, 0.0), updates, True, model)
        taken += 1
        if weights:
            updates = _ratios(model, weights)
        if taken % LOOKS == 0 or taken == steps:
            last, seen = seen, gap(model, held, loss)
            if seen.learned(before) and last.learned(before):
                break
        if time.perf_counter() - began > seconds and taken >= 3:
            whole = taken >= ENOUGH or losses[-1] > 10 * abs(losses[0])
            seen = gap(model, held, loss)
            break
    return Trial(rate, taken, tuple(losses), before, seen, updates, whole, model)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, loss: Loss) -> float:
    """One optimizer step, unless the loss is not finite; the loss before it."""

    def forward_and_back() -> Tensor:
        optimizer.zero_grad()
        value = loss(batch.output_of(model), batch.target)
        value.backward()
        return value.detach()

    if isinstance(optimizer, torch.optim.LBFGS):  # it asks again and again within a step
        return optimizer.step(forward_and_back).item()
    value = forward_and_back().item()
    if math.isfinite(value):
        optimizer.step()
    return value


def _ratios(model: nn.Module, before: dict[int, Tensor]) -> dict[int, float]:
    """‖ΔW‖/‖W‖ by weight; a weight that was all 0 has none."""
    ratios = {}
    for index, p in enumerate(model.parameters()):
        size = float(before[index].norm()) if p.requires_grad and p.dim() > 1 else 0.0
        if size > 0:
            ratios[index] = float((p.detach() - before[index]).norm()) / size
    return ratios
