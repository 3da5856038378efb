"""Saturated fraction: how much of a bounded activation's work happens in its flat ends.

    mean over batch and units of [ |φ′(z_l)| < max|φ′| / 20 ]

Only for activations that are flat at both ends (sigmoid, tanh, …): half of a healthy ReLU layer is
on its flat side, which is not saturation.
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unvanish.core.probe import ForwardProbe, Region


@final
@dataclass(frozen=True)
class Saturated(ForwardProbe):
    name = "saturated"
    unit = "fraction"

    def measure(self, z: Tensor, h: Tensor, region: Region) -> Tensor | None:  # z_BD
        if not region.two_sided:
            return None
        inside = z.clamp(region.low, region.high)  # moves exactly the saturated ones
        # comparing into floats: a mask of booleans takes three times as long to make and to count
        return torch.ne(inside, z, out=inside).mean()
