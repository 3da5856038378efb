"""A probe: one quantity of a layer, reduced on the device to one number a measured step."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from unvanish.core.signal import Signal


class Probe(ABC):
    """Frozen data plus one `measure`; which one says what it needs to see.

    `name` and `unit` go into the store; `log` says that its values span orders of magnitude.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    log: ClassVar[bool] = False


class PreActivationProbe(Probe):
    @abstractmethod
    def measure(self, z: Signal) -> Tensor:
        """From the pre-activation z, which knows the region of the activation φ behind it.

        `nothing(z)` where the quantity has no meaning for this activation.
        """


class ActivationProbe(Probe):
    @abstractmethod
    def measure(self, h: Signal) -> Tensor:
        """From the activation h = φ(z)."""


class BackwardProbe(Probe):
    @abstractmethod
    def measure(self, dz: Signal) -> Tensor:
        """From ∂loss/∂z, with the shape of the pre-activation z."""


class GradientProbe(Probe):
    @abstractmethod
    def measure(self, gradient: Signal) -> Tensor:
        """From ∂loss/∂W of the layer's weight, after the backward pass, before the step."""


class UpdateProbe(Probe):
    @abstractmethod
    def measure(self, change: Tensor) -> Tensor:
        """From ‖ΔW‖ / ‖W‖ of the layer's weight in the optimizer's step."""


def nothing(z: Signal) -> Tensor:
    """NaN: there is no such quantity."""
    return torch.full_like(z.mean, float("nan"))
