"""The gradient flow: what the probes measure on the steps of a schedule, kept on the device until the epoch ends.

The training step tells it what passes; it only reads, so the training is the same bit for bit.
"""
# L layers (the sites), R runs (none in front where a run is alone)

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from unvanish.core.probe import BackwardProbe, ForwardProbe, GradientProbe, Probe, UpdateProbe
from unvanish.core.schedule import Schedule
from unvanish.core.sites import Site
from unvanish.engine.bundle import Alone, Bundle

Values = dict[tuple[str, int], list[Tensor]]  # (probe, layer) → one value a measured step

ALONE = Alone()


class Flow:
    """Measures the sites of one network by all probes.

    Around each step: `begin(i)`; then, while `measuring`, `forward` and `backward` for each site as they
    are known; `after_backward()`, the optimizer's step, `after_update()`. `take()` gives the means since
    the last `take` and starts anew.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        probes: Sequence[Probe],
        schedule: Schedule,
        layers: int,
        bundle: Bundle = ALONE,
    ) -> None:
        self.sites, self.schedule, self.layers = sites, schedule, layers
        self.bundle = bundle
        self.names = [probe.name for probe in probes]
        self.measuring = False
        self._forward = [probe for probe in probes if isinstance(probe, ForwardProbe)]
        self._backward = [probe for probe in probes if isinstance(probe, BackwardProbe)]
        self._gradient = [probe for probe in probes if isinstance(probe, GradientProbe)]
        self._update = [probe for probe in probes if isinstance(probe, UpdateProbe)]
        self._seen: Values = {}
        self._before: list[Tensor] = []

    def begin(self, step: int) -> None:
        self.measuring = self.schedule(step)

    def forward(self, site: Site, z: Tensor, h: Tensor) -> None:
        """The pre-activation and the activation of a site; neither is kept."""
        for probe in self._forward:
            self._see(probe, site, lambda z, h, probe=probe: probe.measure(z, h, site.region), z, h)

    def backward(self, site: Site, dz: Tensor) -> None:
        """∂loss/∂z of a site; it is not kept."""
        for probe in self._backward:
            self._see(probe, site, probe.measure, dz)

    def after_backward(self) -> None:
        if not self.measuring:
            return
        for site in self.sites:
            if site.weight.grad is not None:
                for probe in self._gradient:
                    self._see(probe, site, probe.measure, site.weight.grad)
        self._before = [site.weight.detach().clone() for site in self.sites]

    def after_update(self) -> None:
        if not self.measuring:
            return
        for site, before in zip(self.sites, self._before, strict=True):
            for probe in self._update:
                self._see(probe, site, probe.measure, before, site.weight.detach())

    def first(self) -> Tensor:
        """What has been seen so far, without starting anew: after one step, the state at initialisation."""
        return self._means()

    def take(self) -> Tensor:
        means = self._means()
        self._seen.clear()
        return means

    def _means(self) -> Tensor:
        """R × probes × L, on the device; NaN where nothing was seen."""
        lead = self.bundle.lead
        if not self.names:
            return torch.empty(*lead, 0, self.layers)
        nan = torch.full(lead, float("nan"), device=self.sites[0].weight.device)
        means = {key: torch.stack(values).mean(0) for key, values in self._seen.items()}
        rows = [[means.get((name, index), nan) for index in range(self.layers)] for name in self.names]
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    @contextmanager
    def apart(self) -> Iterator[Values]:
        """What is seen within goes into these values only. `see` counts it later."""
        seen, self._seen = self._seen, {}
        try:
            yield self._seen
        finally:
            self._seen = seen

    def see(self, values: Values) -> None:
        """Count what was seen apart; the values are copied."""
        for key, measured in values.items():
            self._seen.setdefault(key, []).extend(value.clone() for value in measured)

    def _see(self, probe: Probe, site: Site, measure: Callable[..., Tensor], *seen: Tensor) -> None:
        value = self.bundle.mapped(measure)(*seen)
        self._seen.setdefault((probe.name, site.index), []).append(value.detach())
