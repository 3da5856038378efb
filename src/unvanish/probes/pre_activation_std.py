"""Standard deviation of the pre-activation: how much of the signal reaches the activation.

√Var[z_l] over batch and units
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.moments import std
from unvanish.core.probe import ForwardProbe, Region


@final
@dataclass(frozen=True)
class PreActivationStd(ForwardProbe):
    name = "pre_activation_std"
    unit = "pre-activation"

    def measure(self, z: Tensor, h: Tensor, region: Region) -> Tensor:  # z_BD, h_BD
        return std(z)
