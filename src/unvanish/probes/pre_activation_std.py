"""Standard deviation of the pre-activation: how much of the signal reaches the activation.

√Var[z_l] over batch and units
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.probe import PreActivationProbe
from unvanish.core.signal import Signal


@final
@dataclass(frozen=True)
class PreActivationStd(PreActivationProbe):
    name = "pre_activation_std"
    unit = "pre-activation"

    def measure(self, z: Signal) -> Tensor:
        return z.std
