"""Standard deviation of the pre-activation: how much of the signal reaches the activation.

√Var[z_l] over batch and units
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class PreActivationStd(Quantity):
    name = "pre_activation_std"
    unit = "pre-activation"

    def of(self, layer: Signals) -> Number | None:
        return layer.pre_activation.std if layer.pre_activation else None
