"""A probe: one quantity of a layer, reduced on the device to one number a measured step."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor


@dataclass(frozen=True)
class Region:
    """Where an activation's slope is alive: between `low` and `high`; outside, it is flat.

    An end without a flat part is infinite: ReLU's region is (0, ∞), a sigmoid's about (−4.4, 4.4).
    """

    low: float
    high: float

    @property
    def two_sided(self) -> bool:
        return self.low > float("-inf") and self.high < float("inf")


class Probe(ABC):
    """Frozen data plus one `measure`; which one says what it needs to see.

    `name` and `unit` go into the store; `log` says that its values span orders of magnitude.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    log: ClassVar[bool] = False


class ForwardProbe(Probe):
    @abstractmethod
    def measure(self, z: Tensor, h: Tensor, region: Region) -> Tensor:
        """From the pre-activation z and the activation h = φ(z), of equal shape, and φ's region.

        `nothing(z)` where the quantity has no meaning for this activation.
        """


class BackwardProbe(Probe):
    @abstractmethod
    def measure(self, dz: Tensor) -> Tensor:
        """From ∂loss/∂z, with the shape of the pre-activation z."""


class GradientProbe(Probe):
    @abstractmethod
    def measure(self, gradient: Tensor) -> Tensor:
        """From ∂loss/∂W of the layer's weight, after the backward pass, before the step."""


class UpdateProbe(Probe):
    @abstractmethod
    def measure(self, before: Tensor, after: Tensor) -> Tensor:
        """From the layer's weight before and after the optimizer's step."""


def nothing(z: Tensor) -> Tensor:
    """NaN, as a 0-dimensional tensor on z's device: there is no such quantity."""
    return z.new_full((), float("nan"))
