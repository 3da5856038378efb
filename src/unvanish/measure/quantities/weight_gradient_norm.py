"""Norm of the weight gradient: the product of what comes forward and what comes backward.

    ‖∂L/∂W_l‖,    ∂L/∂W_l = Σ over the batch of (∂L/∂z_l) h_{l−1}ᵀ

Small for either reason, so it is kept beside the backward signal and the activation, not instead.
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class WeightGradientNorm(Quantity):
    name = "weight_gradient_norm"
    unit = "loss / weight"
    scale = "log"

    def of(self, layer: Signals) -> Number | None:
        return layer.weight_gradient.norm if layer.weight_gradient else None
