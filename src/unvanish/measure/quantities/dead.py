"""Dead fraction: units that pass no gradient for any input of the batch.

    mean over units of [ all inputs of the batch fall on the same flat side of φ ]

For ReLU: the unit's output is 0 for every input. A unit of a convolution is a channel.
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class Dead(Quantity):
    name = "dead"
    unit = "fraction"

    def of(self, layer: Signals) -> Number | None:
        return layer.pre_activation.dead if layer.pre_activation else None
