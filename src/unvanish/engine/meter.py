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
from unvanish.kernels.passes import COLUMNS, Survey, change, surveyed

Probes = Sequence[Any]  # of one kind: what they measure is what is seen


class Meter(Protocol):
    lead: tuple[int, ...]  # what stands before the numbers: the runs

    def look(self, probes: Probes, region: Region, values: Tensor) -> Tensor:
        """The numbers of a tensor on one step, [R, K]."""
        ...

    def update(self, probes: Probes, before: Tensor, after: Tensor) -> Tensor:
        """The numbers of the update of a weight, [R, K]."""
        ...

    def sum_up(self, probes: Probes, region: Region, numbers_SRK: Tensor) -> Tensor:
        """What the probes say of the steps, on average: [R, P]."""
        ...


@final
class AtOnce:
    """Each probe measures on the step itself: on any device, of many runs together."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.lead = bundle, bundle.lead

    def look(self, probes: Probes, region: Region, values: Tensor) -> Tensor:
        def measure(values: Tensor) -> Tensor:
            return _each(probes, TensorSignal(values, region))

        return self.bundle.mapped(measure)(values.detach())

    def update(self, probes: Probes, before: Tensor, after: Tensor) -> Tensor:
        def measure(before: Tensor, after: Tensor) -> Tensor:
            return _each(probes, relative_change(before, after))

        return self.bundle.mapped(measure)(before, after)

    def sum_up(self, probes: Probes, region: Region, numbers_SRK: Tensor) -> Tensor:
        return numbers_SRK.mean(0)


@final
class Compiled:
    """A kernel surveys the tensor; the probes see the surveys of all steps of the epoch. For one run on the CPU.

    On a step there is hardly any Python, which is slow there: a matrix product has driven it from the caches.
    """

    lead = ()

    def look(self, probes: Probes, region: Region, values: Tensor) -> Tensor:
        return surveyed(values, region)

    def update(self, probes: Probes, before: Tensor, after: Tensor) -> Tensor:
        return change(before, after)

    def sum_up(self, probes: Probes, region: Region, numbers_SRK: Tensor) -> Tensor:
        is_survey = numbers_SRK.shape[-1] == len(COLUMNS)
        return _each(probes, Survey(numbers_SRK, region) if is_survey else numbers_SRK[:, 0]).mean(-1)


def _each(probes: Probes, seen: Any) -> Tensor:
    return torch.stack([probe.measure(seen).double() for probe in probes])
