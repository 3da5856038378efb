"""How what passes a site becomes numbers: looked at on a measured step, summed up when the epoch ends."""
# R runs (none in front where a run is alone), S measured steps, P probes of one kind, K numbers

from collections.abc import Sequence
from typing import Any, Protocol, final

import torch
from torch import Tensor

from unvanish.core.moments import relative_change
from unvanish.core.region import Region
from unvanish.core.signal import TensorSignal
from unvanish.engine.bundle import Bundle
from unvanish.kernels.passes import Survey, change, surveyed

Probes = Sequence[Any]  # of one kind: what they measure is what is seen


class Meter(Protocol):
    """What is seen is one tensor, or a weight before and after its update."""

    lead: tuple[int, ...]  # what stands before the numbers: the runs

    def look(self, probes: Probes, region: Region, *seen: Tensor) -> Tensor:
        """The numbers of one step, [R, K]."""
        ...

    def sum_up(self, probes: Probes, region: Region, numbers_SRK: Tensor) -> Tensor:
        """What the probes say of the steps, on average: [R, P]."""
        ...


@final
class AtOnce:
    """Each probe measures on the step itself: on any device, of many runs together."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.lead = bundle, bundle.lead

    def look(self, probes: Probes, region: Region, *seen: Tensor) -> Tensor:
        def measure(*seen: Tensor) -> Tensor:
            signal = TensorSignal(seen[0], region) if len(seen) == 1 else relative_change(*seen)
            return torch.stack([probe.measure(signal) for probe in probes])

        return self.bundle.mapped(measure)(*seen).detach()

    def sum_up(self, probes: Probes, region: Region, numbers_SRK: Tensor) -> Tensor:
        return numbers_SRK.mean(0)


@final
class Compiled:
    """A kernel surveys the tensor; the probes see the surveys of all steps of the epoch. For one run on the CPU.

    On a step there is hardly any Python, which is slow there: a matrix product has driven it from the caches.
    """

    lead = ()

    def look(self, probes: Probes, region: Region, *seen: Tensor) -> Tensor:
        return surveyed(*seen, region) if len(seen) == 1 else change(*seen)[None]

    def sum_up(self, probes: Probes, region: Region, numbers_SRK: Tensor) -> Tensor:
        signal = Survey(numbers_SRK, region) if numbers_SRK.shape[-1] > 1 else numbers_SRK[:, 0]
        return torch.stack([probe.measure(signal).mean() for probe in probes])
