"""Standard deviation of the activation: the signal that goes on to the next layer.

√Var[h_l] over batch and units,    h_l = φ(z_l)
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.probe import ActivationProbe
from unvanish.core.signal import Signal


@final
@dataclass(frozen=True)
class ActivationStd(ActivationProbe):
    name = "activation_std"
    unit = "activation"

    def measure(self, h: Signal) -> Tensor:
        return h.std
