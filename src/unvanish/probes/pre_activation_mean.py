"""Mean of the pre-activation: far from 0, a sigmoid works in its flat ends.

E[z_l] over batch and units
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.probe import PreActivationProbe
from unvanish.core.signal import Signal


@final
@dataclass(frozen=True)
class PreActivationMean(PreActivationProbe):
    name = "pre_activation_mean"
    unit = "pre-activation"

    def measure(self, z: Signal) -> Tensor:
        return z.mean
