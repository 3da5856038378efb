"""Norm of the backward signal over the whole batch: what can be compared between layers of different widths.

‖∂L/∂z_l‖,    z_l the pre-activation
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class BackwardNorm(Quantity):
    name = "backward_norm"
    unit = "loss / pre-activation"
    scale = "log"

    def of(self, layer: Signals) -> Number | None:
        return layer.backward.norm if layer.backward else None
