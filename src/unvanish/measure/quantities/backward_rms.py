"""RMS of the backward signal: how much of the gradient is left at each depth.

rms_l = √( mean over batch and units of (∂L/∂z_l)² ),    z_l the pre-activation
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class BackwardRMS(Quantity):
    name = "backward_rms"
    unit = "loss / pre-activation"
    scale = "log"

    def of(self, layer: Signals) -> Number | None:
        return layer.backward.rms if layer.backward else None
