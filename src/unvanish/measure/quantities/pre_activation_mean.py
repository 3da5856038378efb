"""Mean of the pre-activation: far from 0, a sigmoid is saturated.

E[z_l] over batch and units
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class PreActivationMean(Quantity):
    name = "pre_activation_mean"
    unit = "pre-activation"

    def of(self, layer: Signals) -> Number | None:
        return layer.pre_activation.mean if layer.pre_activation else None
