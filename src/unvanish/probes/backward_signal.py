"""RMS of the backward signal: how much of the gradient is left at each depth.

rms_l = √( mean over batch and units of (∂L/∂z_l)² ),    z_l the pre-activation
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.probe import BackwardProbe
from unvanish.core.signal import Signal


@final
@dataclass(frozen=True)
class BackwardSignal(BackwardProbe):
    name = "backward_signal"
    unit = "loss / pre-activation"
    log = True

    def measure(self, dz: Signal) -> Tensor:
        return dz.rms
