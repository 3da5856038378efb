"""Weight decay taken out: the weights are no longer pulled to 0.

    θ ← θ − lr (g + λ θ),    λ = 0

Where λ θ outweighs the gradient of the loss the weights shrink at every step whatever the data say, by a factor e
every 1/(lr λ) steps (Krogh & Hertz 1991; for Adam as a decay of its own: Loshchilov & Hutter 2019, eqs. 1 and 2).

Limitations: a decay that is not too large helps generalisation, which a short training does not show.
"""

from typing import ClassVar, final

import torch

from unvanish.core.remedy import OptimizerRemedy
from unvanish.core.values import validated


@final
@validated
class WithoutDecay(OptimizerRemedy):
    """Set the weight decay of every parameter group to 0."""

    kind: ClassVar[str] = "without-decay"

    def prepare(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            if "weight_decay" in group:
                group["weight_decay"] = 0.0

    def __str__(self) -> str:
        return "no weight decay"
