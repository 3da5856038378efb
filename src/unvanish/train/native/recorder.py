"""The fast step's measurements: surveys of what passes its sites, summed up by the quantities when the epoch ends."""
# S measured steps, L layers

from collections import defaultdict
from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from unvanish.core.table import Table
from unvanish.measure.quantities import ALL
from unvanish.measure.quantity import Signals
from unvanish.measure.region import EVERYWHERE
from unvanish.measure.schedule import Schedule
from unvanish.measure.signal import Moments
from unvanish.train.native.passes import Survey, change, spread, surveyed
from unvanish.train.native.sites import Site


@final
class SurveyRecorder:
    """Between `begin` and `before_update` the step tells it what passes its sites, none of which is kept."""

    def __init__(self, sites: Sequence[Site], layers: Sequence[str], schedule: Schedule) -> None:
        self.sites, self.layers, self.schedule = sites, tuple(layers), schedule
        self.units = {layers[site.index]: len(site.weight) for site in sites}
        self._steps: list[int] = []
        self._seen: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
        self._before: list[Tensor] = []  # the weights before the step, in memory that is used again

    def begin(self, step: int) -> bool:
        if not self.schedule(step):
            return False
        self._steps.append(step)
        return True

    def pre_activation(self, site: Site, z: Tensor) -> None:
        self._seen["pre_activation", site.index].append(surveyed(z, site.region))

    def activation(self, site: Site, h: Tensor) -> None:
        self._seen["activation", site.index].append(surveyed(h, EVERYWHERE))
        self._seen["spread", site.index].append(spread(h))

    def backward(self, site: Site, dz: Tensor) -> None:
        self._seen["backward", site.index].append(surveyed(dz, EVERYWHERE))

    def before_update(self) -> None:
        self._before = self._before or [torch.empty_like(site.weight.detach()) for site in self.sites]
        for before, site in zip(self._before, self.sites, strict=True):
            if site.weight.grad is not None:
                self._seen["weight_gradient", site.index].append(surveyed(site.weight.grad, EVERYWHERE))
            before.copy_(site.weight.detach())

    def after_update(self) -> None:
        for site, before in zip(self.sites, self._before, strict=True):
            self._seen["update", site.index].append(change(before, site.weight.detach()))

    def take(self) -> list[Table]:
        values = {q.name: np.full((len(self._steps), len(self.layers)), np.nan) for q in ALL}
        for site in self.sites:
            signals = self._signals(site)
            for quantity in ALL:
                number_S = quantity.of(signals)
                if number_S is not None:
                    values[quantity.name][:, site.index] = number_S
        table = Table(self.layers, tuple(self._steps), values, self.units)
        self._steps, self._seen = [], defaultdict(list)
        return [table]

    def _signals(self, site: Site) -> Signals:
        seen = {part: torch.stack(rows) for (part, index), rows in self._seen.items() if index == site.index}
        survey = {part: Survey(rows, site.region) for part, rows in seen.items() if part not in ("spread", "update")}
        if "activation" in survey:
            survey["activation"].spread = seen["spread"]
        moved, size = seen["update"].unbind(-1) if "update" in seen else (None, None)
        update = Moments(1, moved) if moved is not None else None
        return Signals(**survey, update=update, weight=Moments(1, size) if size is not None else None)
