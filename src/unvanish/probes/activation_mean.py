"""Mean of the activation: what a layer gives the next one whatever the input.

E[h_l] over batch and units,    h_l = φ(z_l)
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.probe import ActivationProbe
from unvanish.core.signal import Signal


@final
@dataclass(frozen=True)
class ActivationMean(ActivationProbe):
    name = "activation_mean"
    unit = "activation"

    def measure(self, h: Signal) -> Tensor:
        return h.mean
