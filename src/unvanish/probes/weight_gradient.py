"""Norm of the weight gradient: the product of what comes forward and what comes backward.

    ‖∂L/∂W_l‖,    ∂L/∂W_l = Σ over the batch of (∂L/∂z_l) h_{l−1}ᵀ

Small for either reason, so it is kept beside the backward signal and the activation, not instead.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.probe import GradientProbe
from unvanish.core.signal import Signal


@final
@dataclass(frozen=True)
class WeightGradient(GradientProbe):
    name = "weight_gradient"
    unit = "loss / weight"
    log = True

    def measure(self, gradient: Signal) -> Tensor:
        return gradient.norm
