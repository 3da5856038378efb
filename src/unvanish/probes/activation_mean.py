"""Mean of the activation: what a layer gives the next one whatever the input.

E[h_l] over batch and units,    h_l = φ(z_l)
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.moments import mean
from unvanish.core.probe import ForwardProbe, Region


@final
@dataclass(frozen=True)
class ActivationMean(ForwardProbe):
    name = "activation_mean"
    unit = "activation"

    def measure(self, z: Tensor, h: Tensor, region: Region) -> Tensor:  # z_BD, h_BD
        return mean(h)
