"""Another learning rate: steps that are neither too large for the loss nor too small for the time there is.

    Δθ = −(factor · lr) · d,    d what the optimizer makes of the gradient

Below 2/λ, λ the largest curvature, gradient descent goes downhill (LeCun et al. 1998, "Efficient backprop", section
4.6); the largest rate that does so learns fastest (Bengio 2012, section 3.1.1).

Limitations: one rate for all layers does not mend a gradient that is a thousandth in the first of what it is in the
last: there the rate that suits one layer is useless or ruinous in the other.
"""

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field

from unvanish.core.remedy import OptimizerRemedy
from unvanish.core.values import validated


@final
@validated
class LearningRate(OptimizerRemedy):
    """Multiply the optimizer's learning rates by `factor`."""

    kind: ClassVar[str] = "learning-rate"

    factor: Annotated[float, Field(gt=0)] = 0.1

    def prepare(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * self.factor

    def __str__(self) -> str:
        return f"the learning rate × {self.factor:g}"
