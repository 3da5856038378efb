"""Standard deviation of the activation: the signal that goes on to the next layer.

√Var[h_l] over batch and units,    h_l = φ(z_l)
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.moments import std
from unvanish.core.probe import ForwardProbe, Region


@final
@dataclass(frozen=True)
class ActivationStd(ForwardProbe):
    name = "activation_std"
    unit = "activation"

    def measure(self, z: Tensor, h: Tensor, region: Region) -> Tensor:  # z_BD, h_BD
        return std(h)
