"""Norm of the update: how far one optimizer step moves a layer's weights.

‖ΔW_l‖
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class UpdateNorm(Quantity):
    name = "update_norm"
    unit = "weight"
    scale = "log"

    def of(self, layer: Signals) -> Number | None:
        return layer.update.norm if layer.update else None
