"""Standard deviation of the activation, over batch and units together.

√Var[h_l],    h_l = φ(z_l)
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class ActivationStd(Quantity):
    name = "activation_std"
    unit = "activation"

    def of(self, layer: Signals) -> Number | None:
        return layer.activation.std if layer.activation else None
