"""Gradient clipping: no step is larger than its direction is worth.

    g ← g · min(1, c/‖g‖),    ‖g‖ over all parameters of the optimizer

Where the gradient explodes now and then, as over a cliff of the loss, one step would throw away what was learned
(Pascanu, Mikolov & Bengio 2013, algorithm 1).

Limitations: it bounds the step, and does not mend the flow: what vanishes stays vanished, and a layer whose gradient
is a thousandth of another's gets a thousandth of the clipped step. With Adam, which divides by the gradient's size,
only jumps of that size are clipped.
"""

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field

from unvanish.core.remedy import OptimizerRemedy
from unvanish.core.values import validated


@final
@validated
class GradientClipping(OptimizerRemedy):
    """Scale the gradient down to the norm `norm` before a step, where it is longer."""

    kind: ClassVar[str] = "gradient-clipping"

    norm: Annotated[float, Field(gt=0)] = 1.0

    def prepare(self, optimizer: torch.optim.Optimizer) -> None:
        def clip(optimizer: torch.optim.Optimizer, _args: object, _kwargs: object) -> None:
            held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(held, self.norm)

        optimizer.register_step_pre_hook(clip)

    def __str__(self) -> str:
        return f"gradients clipped to norm {self.norm:g}"
