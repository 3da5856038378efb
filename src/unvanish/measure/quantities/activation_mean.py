"""Mean of the activation: what a layer gives the next one whatever the input.

E[h_l] over batch and units,    h_l = φ(z_l)
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class ActivationMean(Quantity):
    name = "activation_mean"
    unit = "activation"

    def of(self, layer: Signals) -> Number | None:
        return layer.activation.mean if layer.activation else None
