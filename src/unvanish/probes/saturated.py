"""Saturated fraction: how much of a bounded activation's work happens in its flat ends.

    mean over batch and units of [ |φ′(z_l)| < max|φ′| / 20 ]

Only for activations that are flat at both ends (sigmoid, tanh, …): half of a healthy ReLU layer is
on its flat side, which is not saturation.
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.probe import PreActivationProbe, nothing
from unvanish.core.signal import Signal


@final
@dataclass(frozen=True)
class Saturated(PreActivationProbe):
    name = "saturated"
    unit = "fraction"

    def measure(self, z: Signal) -> Tensor:
        return z.saturated if z.region.two_sided else nothing(z)
