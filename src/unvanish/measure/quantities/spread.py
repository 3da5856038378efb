"""Spread of the activation over the batch: what of it tells one input from another.

    √( mean over batch and units of (h_l − h̄_l)² ),    h̄_l the mean over the batch

The mean is subtracted before anything is squared: E[h²] − E[h]² cancels where all inputs give nearly the same.
Poole et al. 2016 follow the correlation between two inputs instead, eq. 5; it is 1 where the spread is 0.
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class Spread(Quantity):
    name = "spread"
    unit = "activation"
    scale = "log"

    def of(self, layer: Signals) -> Number | None:
        return layer.activation.spread if layer.activation else None
