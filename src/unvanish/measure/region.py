"""Where an activation's slope is alive, and where it is flat."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

FLAT = 0.05  # "flat" is a slope under a twentieth of the steepest: a sigmoid beyond ±4.36, a tanh beyond ±2.18


@dataclass(frozen=True)
class Region:
    """Where an activation's slope is alive: between `low` and `high`; outside, it is flat.

    An end without a flat part is infinite: ReLU's region is (0, ∞), a sigmoid's about (−4.4, 4.4). What is flat below
    0 is taken for a ReLU, ReLU6 too: half of a healthy layer is there, which is not saturation.
    """

    low: float
    high: float

    @property
    def two_sided(self) -> bool:
        return self.low > float("-inf") and self.high < float("inf")


EVERYWHERE = Region(float("-inf"), float("inf"))


def live_region(activation: Callable[[Tensor], Tensor]) -> Region:
    """Where the activation's slope is at least a twentieth of its steepest, from autograd on a grid.

    >>> live_region(torch.relu)
    Region(low=0.0, high=inf)
    """
    z = torch.arange(-20_000, 20_001).div(1000).requires_grad_()  # 0.001 apart, 0 exactly among them
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # RReLU draws its slope
        (slope,) = torch.autograd.grad(activation(z * 1).sum(), z)  # an in-place one may not change a leaf
    alive = torch.nonzero(slope.abs() >= FLAT * slope.abs().max()).flatten()
    grid, first, last = z.detach(), int(alive[0]), int(alive[-1])
    low = grid[first - 1].item() if first > 0 else None
    return region_between(low, grid[last + 1].item() if last < len(grid) - 1 else None)


def region_between(low: float | None, high: float | None) -> Region:
    """`None` where there is no flat part."""
    return Region(float("-inf") if low is None else low, float("inf") if high is None or low == 0 else high)
