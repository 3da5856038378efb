"""The gradient flow: what the probes measure on the steps of a schedule, kept on the device until the epoch ends.

The training step tells it what passes; it only reads, so the training is the same bit for bit.
"""
# L layers (the sites), R runs (none in front where a run is alone)

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from unvanish.core.probe import (
    ActivationProbe,
    BackwardProbe,
    GradientProbe,
    PreActivationProbe,
    Probe,
    UpdateProbe,
)
from unvanish.core.region import EVERYWHERE
from unvanish.core.schedule import Schedule
from unvanish.core.sites import Site
from unvanish.engine.bundle import Alone
from unvanish.engine.meter import AtOnce, Meter

AT_ONCE = AtOnce(Alone())
KINDS = (PreActivationProbe, ActivationProbe, BackwardProbe, GradientProbe, UpdateProbe)
Kind = type[Probe]
Seen = defaultdict[tuple[Kind, int], list[Tensor]]  # (what the probes see, layer) → the meter's numbers of each step


class Flow:
    """Measures the sites of one network by all probes.

    Around each step: `begin(i)`; then, while `measuring`, `pre_activation`, `activation` and `backward` for each
    site as they are known, none of which is kept; `after_backward()`, the optimizer's step, `after_update()`.
    `take()` gives the means since the last `take` and starts anew.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        probes: Sequence[Probe],
        schedule: Schedule,
        layers: int,
        meter: Meter = AT_ONCE,
    ) -> None:
        self.sites, self.schedule, self.layers, self.meter = sites, schedule, layers, meter
        self.device = sites[0].weight.device if sites else torch.device("cpu")
        self.names = [probe.name for probe in probes]
        self.measuring = False
        self._probes: dict[Kind, list[Probe]] = {
            kind: [probe for probe in probes if isinstance(probe, kind)] for kind in KINDS
        }
        self._seen: Seen = defaultdict(list)
        self._before: list[Tensor] = []  # the weights before the step, in memory that is used again

    def begin(self, step: int) -> None:
        self.measuring = self.schedule(step)

    def pre_activation(self, site: Site, z: Tensor) -> None:
        self._look(PreActivationProbe, site, z)

    def activation(self, site: Site, h: Tensor) -> None:
        self._look(ActivationProbe, site, h)

    def backward(self, site: Site, dz: Tensor) -> None:
        """∂loss/∂z of a site."""
        self._look(BackwardProbe, site, dz)

    def after_backward(self) -> None:
        if not self.measuring:
            return
        for site in self.sites:
            if site.weight.grad is not None:
                self._look(GradientProbe, site, site.weight.grad)
        if self._probes[UpdateProbe]:
            self._before = self._before or [torch.empty_like(site.weight.detach()) for site in self.sites]
            for before, site in zip(self._before, self.sites, strict=True):
                before.copy_(site.weight.detach())

    def after_update(self) -> None:
        if self.measuring and self._probes[UpdateProbe]:
            for site, before in zip(self.sites, self._before, strict=True):
                change = self.meter.update(self._probes[UpdateProbe], before, site.weight.detach())
                self._seen[UpdateProbe, site.index].append(change)

    def first(self) -> Tensor:
        """What has been seen so far, without starting anew: after one step, the state at initialisation."""
        return self._means()

    def take(self) -> Tensor:
        means = self._means()
        self._seen.clear()
        return means

    def _means(self) -> Tensor:
        """R × probes × L, on the device; NaN where nothing was seen."""
        regions = {site.index: site.region for site in self.sites}
        shape = (*self.meter.lead, len(self.names), self.layers)
        means = torch.full(shape, float("nan"), dtype=torch.float64, device=self.device)
        for (kind, layer), numbers in self._seen.items():
            probes = self._probes[kind]
            values = self.meter.sum_up(probes, regions[layer], torch.stack(numbers))
            for probe, value in zip(probes, values.unbind(-1), strict=True):
                means[..., self.names.index(probe.name), layer] = value
        return means

    @contextmanager
    def apart(self) -> Iterator[Seen]:
        """What is seen within goes into these values only. `see` counts it later."""
        seen, self._seen = self._seen, defaultdict(list)
        try:
            yield self._seen
        finally:
            self._seen = seen

    def see(self, values: Seen) -> None:
        """Count what was seen apart; the values are copied."""
        for key, numbers in values.items():
            self._seen[key].extend(value.clone() for value in numbers)

    def _look(self, kind: Kind, site: Site, values: Tensor) -> None:
        if probes := self._probes[kind]:
            region = site.region if kind is PreActivationProbe else EVERYWHERE
            self._seen[kind, site.index].append(self.meter.look(probes, region, values))
