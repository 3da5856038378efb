"""What of an output tells one input from another, before the trial and after it, and from which layer on it is lost.

    contrast = √mean (o(x) − o(x′))²/2 / √mean o(x)²,  x′ the same inputs in another order

With the same random numbers in both, so that what a latent's noise changes does not count. Without noise it is the
standard deviation over the batch, relative to the size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from unvanish.core.blocks import Block
from unvanish.core.setup import Loss
from unvanish.diagnosis.evidence.parts import main_output
from unvanish.diagnosis.trial.learning import Quietly, without_dropout
from unvanish.measure.graph.layers import names_of
from unvanish.measure.graph.passes import How, observe
from unvanish.measure.graph.recorder import row_of, table_of
from unvanish.measure.guard import Guard
from unvanish.train.batches import Batch, shuffled

ONE = 0.1  # outputs that differ by less correlate by 0.99
FALL = 0.2  # of what differed at first: less is left


@dataclass(frozen=True)
class Contrast:
    """Of the output, before and after.

    kept     the numerator after, over that before: an offset that grows alone is no loss
    layers   those that hand on a signal that is nearly one for all inputs after, in forward order
    """

    before: float
    after: float
    kept: float = 1.0
    layers: tuple[str, ...] = ()

    @property
    def lost(self) -> bool:
        return self.after < min(ONE, FALL * self.before) and self.kept < FALL


def contrast_over(
    before: nn.Module, after: nn.Module, batch: Batch, loss: Loss, blocks: Sequence[Block], quietly: Quietly
) -> Contrast | None:
    """`None` where the output has no batch in front."""
    first, last = (_of_output(model, batch, quietly) for model in (before, after))
    if first is None or last is None:
        return None
    shares = [spread / size if size > 0 else 0.0 for spread, size in (first, last)]
    found = Contrast(shares[0], shares[1], kept=last[0] / (first[0] or 1.0))
    return replace(found, layers=_layers(after, batch, loss, blocks)) if found.lost else found


def _of_output(model: nn.Module, batch: Batch, quietly: Quietly) -> tuple[float, float] | None:
    """The numerator and the denominator."""
    order = torch.roll(torch.arange(batch.size), 1)
    found: list[Tensor] = []
    for one in (batch, Batch(shuffled(batch.input, order), batch.target)):
        with quietly(), without_dropout(model), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            output = main_output(one.output_of(model), batch.size)
        if output is None or len(output) < 3 or len(output) != batch.size:
            return None
        found.append(output.detach().double())
    return float((found[0] - found[1]).square().mean().sqrt()) / 2**0.5, float(found[0].square().mean().sqrt())


def _layers(model: nn.Module, batch: Batch, loss: Loss, blocks: Sequence[Block]) -> tuple[str, ...]:
    names: Mapping[int, str] = names_of(model, blocks)
    with torch.enable_grad():
        value = loss(batch.output_of(model), batch.target)
        (table,) = table_of([row_of(0, [observe([value], How(names, Guard(warn=False)))])])
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        contrast_L = table.row("spread") / table.row("activation_rms")
    return tuple(name for name, one in zip(table.layers, contrast_L, strict=True) if one < ONE)
