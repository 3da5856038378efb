"""Saturated fraction: how much of a bounded activation's work happens in its flat ends.

    mean over batch and units of [ |φ′(z_l)| < max|φ′| / 20 ]

Only for activations that are flat at both ends (sigmoid, tanh, …): half of a healthy ReLU layer is
on its flat side, which is not saturation.
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.probe import ForwardProbe, Region, nothing


@final
@dataclass(frozen=True)
class Saturated(ForwardProbe):
    name = "saturated"
    unit = "fraction"

    def measure(self, z: Tensor, h: Tensor, region: Region) -> Tensor:  # z_BD
        if not region.two_sided:
            return nothing(z)
        moved = z.clamp(region.low, region.high) - z  # 0 but for the saturated ones
        # signs are floats: a mask of booleans takes three times as long to make and to count
        return moved.sign().square().mean()
