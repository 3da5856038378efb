"""A larger ε for Adam and its kind: one that half precision can hold.

    Δθ = −lr m̂/(√v̂ + ε)

1e-8 is 0 in float16, whose smallest number is 6e-8, and a gradient below 2e-4 has a square of 0 there: 0/0 is NaN
(Micikevicius et al. 2018, section 3.1, on what float16 cannot hold).

Limitations: gradients much smaller than ε are no longer scaled up, so the layers that they belong to learn little.
Better is an optimizer that keeps its moments in float32 (mixed precision).
"""

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field

from unvanish.core.remedy import OptimizerRemedy
from unvanish.core.values import validated


@final
@validated
class LargerEpsilon(OptimizerRemedy):
    """Set `eps` of every parameter group, where the optimizer has one."""

    kind: ClassVar[str] = "larger-epsilon"

    eps: Annotated[float, Field(gt=0)] = 1e-4

    def prepare(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            if "eps" in group:
                group["eps"] = max(group["eps"], self.eps)

    def __str__(self) -> str:
        return f"eps of at least {self.eps:g} in the optimizer"
