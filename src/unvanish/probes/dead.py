"""Dead fraction: units that pass no gradient for any input of the batch.

    mean over units of [ all inputs of the batch fall on the same flat side of φ ]

For ReLU: the unit's output is 0 for every input. A unit of a convolution is a channel.
"""
# B batch, D features

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.probe import ForwardProbe, Region, nothing


@final
@dataclass(frozen=True)
class Dead(ForwardProbe):
    name = "dead"
    unit = "fraction"

    def measure(self, z: Tensor, h: Tensor, region: Region) -> Tensor:  # z_BD, or z_BCHW
        if region.low == float("-inf") and region.high == float("inf"):
            return nothing(z)
        return dead_units(z, region).float().mean()


def dead_units(z: Tensor, region: Region) -> Tensor:
    """For each unit of z, whether all inputs of the batch fall on the same flat side: booleans, [D]."""
    units = 1 if z.dim() in (2, 4, 5) else z.dim() - 1  # channels of an image; else the last dimension
    others = [dim for dim in range(z.dim()) if dim != units]
    dead = z.amax(dim=others) <= region.low
    if region.two_sided:
        dead = dead | (z.amin(dim=others) >= region.high)
    return dead
