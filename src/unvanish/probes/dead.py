"""Dead fraction: units that pass no gradient for any input of the batch.

    mean over units of [ all inputs of the batch fall on the same flat side of φ ]

For ReLU: the unit's output is 0 for every input. A unit of a convolution is a channel.
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.probe import PreActivationProbe, nothing
from unvanish.core.region import EVERYWHERE
from unvanish.core.signal import Signal


@final
@dataclass(frozen=True)
class Dead(PreActivationProbe):
    name = "dead"
    unit = "fraction"

    def measure(self, z: Signal) -> Tensor:
        return nothing(z) if z.region == EVERYWHERE else z.dead
