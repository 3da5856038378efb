"""A tensor on its way through a layer, as probes see it."""
# B batch, D features

from functools import cached_property
from typing import Protocol, final

import torch
from torch import Tensor

from unvanish.core import moments
from unvanish.core.region import EVERYWHERE, Region


class Signal(Protocol):
    """Its moments are over all elements, batch and units alike; `region` is of the activation behind it, if any.

    One number each, or one for each of several steps.
    """

    region: Region

    @property
    def mean(self) -> Tensor: ...

    @property
    def std(self) -> Tensor:
        """The biased one."""
        ...

    @property
    def norm(self) -> Tensor: ...

    @property
    def rms(self) -> Tensor:
        """√(mean of the squares)."""
        ...

    @property
    def saturated(self) -> Tensor:
        """The fraction of the elements outside the region."""
        ...

    @property
    def dead(self) -> Tensor:
        """The fraction of the units that are outside the region, at one side, for the whole batch."""
        ...


@final
class TensorSignal:
    """By torch's operators: on any device, in any type and shape, and under `torch.func.vmap`.

    Squares are float64: those of a signal that has vanished are below the smallest float32.
    """

    def __init__(self, values: Tensor, region: Region = EVERYWHERE) -> None:
        self.values, self.region = values, region

    @cached_property
    def mean(self) -> Tensor:
        return self.values.mean()

    @cached_property
    def std(self) -> Tensor:
        # The mean is subtracted first: Var[x] = E[x²] − E[x]² would cancel where all elements are close to each
        # other, as they are behind a sigmoid whose input has died out.
        return moments.rms((self.values - self.mean).double())

    @property
    def norm(self) -> Tensor:
        return moments.norm(self.values.double())

    @property
    def rms(self) -> Tensor:
        return moments.rms(self.values.double())

    @property
    def saturated(self) -> Tensor:
        moved = self.values.clamp(self.region.low, self.region.high) - self.values  # 0 but for the saturated ones
        # signs are floats: a mask of booleans takes three times as long to make and to count
        return moved.sign().square().mean()

    @property
    def dead(self) -> Tensor:
        return dead_units(self.values, self.region).float().mean()


def dead_units(z: Tensor, region: Region) -> Tensor:
    """For each unit of z, whether all inputs of the batch fall on the same flat side: booleans, [D]."""
    z_BD = units_last(z)
    dead = z_BD.amax(0) <= region.low if region.low > float("-inf") else torch.zeros_like(z_BD[0], dtype=torch.bool)
    return dead | (z_BD.amin(0) >= region.high) if region.high < float("inf") else dead


def units_last(z: Tensor) -> Tensor:
    """All that units give, a column each: [B, D]. A unit of an image is a channel; else they are the last dimension."""
    units = 1 if z.dim() in (2, 4, 5) else z.dim() - 1
    return z.movedim(units, -1).reshape(-1, z.shape[units])
