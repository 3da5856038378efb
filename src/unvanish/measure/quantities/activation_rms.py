"""RMS of the activation: the size of what a layer gives the next one.

√E[h_l²] over batch and units,    h_l = φ(z_l)
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class ActivationRMS(Quantity):
    name = "activation_rms"
    unit = "activation"
    scale = "log"

    def of(self, layer: Signals) -> Number | None:
        return layer.activation.rms if layer.activation else None
