"""Whether a network has learned: a permutation test on samples that were held back.

It cannot be read from the fall of the loss: a network that ignores its inputs still learns the frequencies of the
classes, and what counts as a large fall depends on the loss. Asked instead is whether the output has come to fit
*its own* targets better than those of other samples,

    gap = (L̄ − L) / |L̄|,    L the loss of a batch that was not trained on, L̄ its mean over shuffled targets,

which is invariant to loss scaling, about 0 for a network that cannot tell its inputs apart, and comes with its own
uncertainty, the spread over shuffles. A gap alone is not enough, since it is relative to the loss: the loss on the
held-out samples has to fall as well.

Two other forms, where that one has none. A loss that does not depend on which target goes with which output (of pairs,
of an equation, of a model that compares its output with its own input) is asked whether it fell on held-out batches, by
much more than it differs from batch to batch. Of a few samples none can be held back: the network is trained and asked
on all of them, and has learned when shuffled targets cost a quarter more.
"""
# B batch

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.blocks import DROPOUTS
from unvanish.core.nested import mapped
from unvanish.core.setup import Loss
from unvanish.measure.graph.layers import tensors_in
from unvanish.train.batches import Batch, shuffled

SHUFFLES = 12
LEAST = 0.02  # of the loss: chance gaps of networks that cannot learn stayed under 0.01 in `make accuracy`
FAR = 6.0  # spreads over shuffles: by chance once in 1e8 of normal ones; networks that learn soon reach 10 and more
PLAIN = 10 * LEAST  # more than there was by chance before the first step of any network of `make accuracy`
FITTED = 0.25  # of the shuffled targets' loss: what a network has to gain on a few samples that it was trained on
FALL, ERRORS = 0.05, 4.0  # of the loss, and standard errors of its fall over batches: by chance once in 30,000

Quietly = Callable[[], AbstractContextManager[Any]]  # how the model is evaluated: without gradients, where it can be


@dataclass(frozen=True)
class Gap:
    """How much better the outputs fit their own targets than others': relative, and in spreads over shuffles.

    loss, over_batches   the mean loss over the held-out batches, and its standard deviation from batch to batch
    losses   of each batch, where nothing but the loss itself can be asked
    few      asked on the samples that it was trained on
    """

    relative: float
    spreads: float
    loss: float = math.nan
    over_batches: float = 0.0
    losses: tuple[float, ...] = ()
    few: bool = False

    @property
    def plain(self) -> bool:
        """More than there can be by chance before the first step: a network that had learned already."""
        return not self.losses and not self.few and self.relative >= PLAIN and self.spreads >= FAR

    def learned(self, before: "Gap") -> bool:
        """Since `before`, or by then and without having lost it."""
        if self.losses or before.losses:
            return self._fell(before)
        if self.few:
            return self.relative - before.relative >= FITTED and self.loss < before.loss
        if not (math.isfinite(self.loss) and self.relative >= LEAST and self.spreads >= FAR):
            return False
        if before.plain and self.loss <= before.loss + before.over_batches:
            return True
        # some of the gap may be there by chance before the first step, where outputs happen to cluster by class
        return self.relative - before.relative >= LEAST and self.loss < before.loss

    def _fell(self, before: "Gap") -> bool:
        falls = [one - now for one, now in zip(before.losses, self.losses, strict=False)]
        if not falls or not all(map(math.isfinite, falls)):
            return False
        mean = sum(falls) / len(falls)
        error = math.sqrt(sum((one - mean) ** 2 for one in falls) / len(falls)) / math.sqrt(max(1, len(falls) - 1))
        return mean >= FALL * abs(before.loss) and mean > ERRORS * error and mean > 0


@dataclass(frozen=True)
class Question:
    """How it is asked whether a network has learned.

    quietly    how it is evaluated
    compares   the loss depends on which target goes with which output
    few        so few samples that it is asked on those that it was trained on
    """

    quietly: Quietly
    compares: bool = True
    few: bool = False

    def __call__(self, model: nn.Module, batches: Sequence[Batch], loss: Loss) -> Gap:
        if self.compares:
            return replace(gap(model, batches, loss, self.quietly), few=self.few)
        with self.quietly(), without_dropout(model), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same noise each time, so that two of them can be compared
            losses = tuple(loss(batch.output_of(model), batch.target).item() for batch in batches)
        mean = sum(losses) / len(losses)
        over_batches = math.sqrt(sum((one - mean) ** 2 for one in losses) / len(losses))
        return Gap(0.0, 0.0, mean, over_batches, losses)


def gap(model: nn.Module, batches: Sequence[Batch], loss: Loss, quietly: Quietly) -> Gap:
    """The gap over some batches that were held back, each shuffled within itself."""
    generator = torch.Generator().manual_seed(0)
    own: list[float] = []
    others = [0.0] * SHUFFLES
    with quietly(), without_dropout(model):
        differentiates = torch.is_grad_enabled()  # the loss too, perhaps: each time through a graph of its own
        for batch in batches:
            output = batch.output_of(model)
            own.append(loss(output, batch.target).item())
            for index in range(SHUFFLES):
                order = torch.randperm(batch.size, generator=generator)
                other = batch.reordered(order)
                output = other.output_of(model) if differentiates or other.target is None else output
                others[index] += loss(output, other.target).item() / len(batches)
    mean_own, mean = sum(own) / len(own), sum(others) / SHUFFLES
    if not math.isfinite(mean_own + mean):
        return Gap(0.0, 0.0)
    over_batches = math.sqrt(sum((value - mean_own) ** 2 for value in own) / len(own))
    if mean == 0:
        return Gap(0.0, 0.0, mean_own, over_batches)
    spread = math.sqrt(sum((other - mean) ** 2 for other in others) / (SHUFFLES - 1))
    if spread <= 1e-7 * abs(mean) and abs(mean - mean_own) <= 1e-6 * abs(mean):
        return Gap(0.0, 0.0, mean_own, over_batches)  # all outputs are the same to within rounding; or the targets are
    spreads = (mean - mean_own) / max(spread, 1e-12 * abs(mean))
    return Gap((mean - mean_own) / abs(mean), spreads, mean_own, over_batches)


def compares(model: nn.Module, batch: Batch, loss: Loss, quietly: Quietly) -> bool:
    """Whether the loss compares outputs with targets at all: of noise in their place it must depend on the order.

    The loss of some models is part of their output, others' targets broadcast against all outputs; the permutation
    test then says nothing. The noise has the range of the targets, and is compared in float64 where the loss takes it.
    """
    if batch.size < 2 or not batch.has_target:
        return False
    if batch.target is None:  # the model itself has compared them
        return True
    with quietly():
        output = mapped(torch.detach, batch.output_of(model))
    for wide, least in ((torch.float64, 1e-9), (torch.float32, 1e-5)):  # relative; rounding is 1e-16 and 1e-7
        try:
            return _depends_on_order(output, batch, loss, wide, least)
        except (RuntimeError, TypeError, ValueError):  # losses with weights of their own take float32 only
            continue
    with quietly():
        if not torch.is_grad_enabled():
            return False
        # a loss that differentiates takes outputs of the model alone, which lead back to the input
        return _order_matters(lambda target: loss(batch.output_of(model), target), batch.target, batch.size, least=1e-5)


@torch.no_grad()
def _depends_on_order(output: Any, batch: Batch, loss: Loss, wide: torch.dtype, least: float) -> bool:
    generator = torch.Generator().manual_seed(0)
    targets = [t for t in tensors_in(batch.target) if t.is_floating_point() and t.numel()]
    low, high = (float(targets[0].min()), float(targets[0].max())) if targets else (0.0, 1.0)
    if not math.isfinite(low + high) or high == low:
        low, high = 0.0, 1.0

    def noise(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        share = torch.rand(tensor.shape, generator=generator, dtype=wide) * 0.8 + 0.1  # also a probability
        return (low + (high - low) * share).to(tensor.device)

    def widened(tensor: Tensor) -> Tensor:
        return tensor.to(wide) if tensor.is_floating_point() else tensor

    guess, target = mapped(noise, output), mapped(widened, batch.target)
    return _order_matters(lambda target: loss(guess, target), target, batch.size, least, generator)


def _order_matters(
    loss_of: Callable[[Any], Tensor], target: Any, size: int, least: float, generator: torch.Generator | None = None
) -> bool:
    generator = generator or torch.Generator().manual_seed(0)
    values = [loss_of(target).item()]
    values += [loss_of(shuffled(target, torch.randperm(size, generator=generator))).item() for _ in range(3)]
    return max(values) - min(values) > least * max(map(abs, values))


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Its noise would hide what was learned. Normalisations stay in their mode: few have statistics yet."""
    noisy = [module for module in model.modules() if isinstance(module, DROPOUTS) and module.training]
    for module in noisy:
        module.training = False
    try:
        yield
    finally:
        for module in noisy:
            module.training = True


def way_to_evaluate(model: nn.Module, batch: Batch, loss: Loss) -> Quietly:
    """Without gradients; but a model or a loss that differentiates by the input cannot do without."""
    try:
        with torch.no_grad():
            loss(batch.output_of(model), batch.target)
    except RuntimeError:
        return torch.enable_grad
    return torch.no_grad
