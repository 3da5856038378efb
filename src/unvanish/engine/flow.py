"""The gradient flow: the probes, run on the fly inside an ordinary training step.

On a measured step hooks read what passes; on any other step there are none. They only read, so the
training is the same bit for bit. Values stay on the device until the epoch ends.
"""
# L layers (the sites)

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from unvanish.core.probe import BackwardProbe, ForwardProbe, GradientProbe, Probe, UpdateProbe
from unvanish.core.sites import Site

Schedule = Callable[[int], bool]  # from the number of the step within its epoch, from 0


def every(steps: int) -> Schedule:
    """True on step 0 and then on every so many."""
    return lambda step: step % steps == 0


class Flow:
    """Measures the sites of one network by all probes on the steps of a schedule.

    Around each step: `before_step(i)`, then forward and backward, `after_backward()`, the optimizer's
    step, `after_update()`. `take()` gives the means since the last `take` and starts anew.
    """

    def __init__(self, sites: Sequence[Site], probes: Sequence[Probe], schedule: Schedule, layers: int) -> None:
        self.sites, self.schedule, self.layers = sites, schedule, layers
        self.names = [probe.name for probe in probes]
        self._forward = [probe for probe in probes if isinstance(probe, ForwardProbe)]
        self._backward = [probe for probe in probes if isinstance(probe, BackwardProbe)]
        self._gradient = [probe for probe in probes if isinstance(probe, GradientProbe)]
        self._update = [probe for probe in probes if isinstance(probe, UpdateProbe)]
        self._seen: dict[tuple[str, int], list[Tensor]] = {}
        self._hooks: list[RemovableHandle] = []
        self._entered: dict[int, Tensor] = {}
        self._before: list[Tensor] = []
        self._measuring = False

    def before_step(self, step: int) -> None:
        self._measuring = self.schedule(step)
        if not self._measuring:
            return
        for site in self.sites:
            if site.activation is None:
                self._hooks.append(site.layer.register_forward_hook(self._on_layer(site)))
            else:
                self._hooks.append(site.activation.register_forward_pre_hook(self._on_pre_activation(site)))
                self._hooks.append(site.activation.register_forward_hook(self._on_activation(site)))

    def after_backward(self) -> None:
        if not self._measuring:
            return
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for site in self._trained():
            assert site.weight.grad is not None
            for probe in self._gradient:
                self._see(probe, site, probe.measure(site.weight.grad))
        self._before = [site.weight.detach().clone() for site in self._trained()]

    def after_update(self) -> None:
        if not self._measuring:
            return
        for site, before in zip(self._trained(), self._before, strict=True):
            for probe in self._update:
                self._see(probe, site, probe.measure(before, site.weight.detach()))

    def first(self) -> Tensor:
        """What has been seen so far, without starting anew: after one step, the state at initialisation."""
        return self._means()

    def take(self) -> Tensor:
        means = self._means()
        self._seen.clear()
        return means

    def _means(self) -> Tensor:
        """Probes × L, on the device; NaN where nothing was seen."""
        nan = torch.tensor(float("nan"), device=self.sites[0].weight.device)
        means = {key: torch.stack(values).mean() for key, values in self._seen.items()}
        if not self.names:
            return torch.empty(0, self.layers)
        rows = [[means.get((name, index), nan) for index in range(self.layers)] for name in self.names]
        return torch.stack([torch.stack(row) for row in rows])

    def _trained(self) -> list[Site]:
        return [site for site in self.sites if site.weight.grad is not None]

    def _see(self, probe: Probe, site: Site, value: Tensor | None) -> None:
        if value is not None:
            self._seen.setdefault((probe.name, site.index), []).append(value.detach())

    def _on_layer(self, site: Site) -> Callable[[nn.Module, tuple, Tensor], None]:
        def hook(_module: nn.Module, _args: tuple, z: Tensor) -> None:
            self._measure_forward(site, z.detach(), z.detach())
            self._listen_to_gradient(site, z)

        return hook

    def _on_pre_activation(self, site: Site) -> Callable[[nn.Module, tuple], None]:
        def hook(module: nn.Module, args: tuple) -> None:
            z = args[0]
            # An in-place activation is about to overwrite z; a gradient hook set before that still
            # gets the gradient of what z was.
            self._entered[site.index] = z.detach().clone() if getattr(module, "inplace", False) else z.detach()
            self._listen_to_gradient(site, z)

        return hook

    def _on_activation(self, site: Site) -> Callable[[nn.Module, tuple, Tensor], None]:
        def hook(_module: nn.Module, _args: tuple, h: Tensor) -> None:
            self._measure_forward(site, self._entered.pop(site.index), h.detach())

        return hook

    def _measure_forward(self, site: Site, z: Tensor, h: Tensor) -> None:
        for probe in self._forward:
            self._see(probe, site, probe.measure(z, h, site.region))

    def _listen_to_gradient(self, site: Site, z: Tensor) -> None:
        if z.requires_grad:
            z.register_hook(lambda dz: self._measure_backward(site, dz))

    def _measure_backward(self, site: Site, dz: Tensor) -> None:
        for probe in self._backward:
            self._see(probe, site, probe.measure(dz))


def to_host(means: Tensor) -> np.ndarray:
    return means.double().cpu().numpy()
