"""Saturated fraction: how much of a bounded activation's work happens where its slope is nearly 0.

    mean over batch and units of [ |φ′(z_l)| < max|φ′| / 20 ]

Only for activations that are flat at both ends (sigmoid, tanh, …): half of a healthy ReLU layer is
on its flat side, which is not saturation.
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class Saturated(Quantity):
    name = "saturated"
    unit = "fraction"

    def of(self, layer: Signals) -> Number | None:
        return layer.pre_activation.saturated if layer.pre_activation else None
