"""Mean of the pre-activation: far from 0, a sigmoid works in its flat ends.

E[z_l] over batch and units
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.moments import mean
from unvanish.core.probe import ForwardProbe, Region


@final
@dataclass(frozen=True)
class PreActivationMean(ForwardProbe):
    name = "pre_activation_mean"
    unit = "pre-activation"

    def measure(self, z: Tensor, h: Tensor, region: Region) -> Tensor:  # z_BD, h_BD
        return mean(z)
