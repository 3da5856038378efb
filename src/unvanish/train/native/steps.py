"""Steps taken by step.c: many in one call, measured in the same passes."""
# N samples, M of them in an epoch, B batch, S steps, L layers

import ctypes
import time
from collections.abc import Iterable, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from unvanish.core.table import Table
from unvanish.measure.quantities import ALL
from unvanish.measure.quantity import Signals, in_table
from unvanish.measure.region import EVERYWHERE
from unvanish.measure.schedule import Schedule
from unvanish.train.batches import Batch
from unvanish.train.images import Picked
from unvanish.train.native import update
from unvanish.train.native.library import Library
from unvanish.train.native.network import NativeNetwork
from unvanish.train.native.sites import Site
from unvanish.train.native.structs import COLUMNS, CStretch
from unvanish.train.taken import Evaluated, OnStep, Taken

CALL_S = 0.05  # a call takes about so long: Ctrl-C is heard between two


@final
class NativeSteps:
    """A way to take steps with a leaf sequence over `Picked` images.

    layers   the names of all layers of the table; those without a site are not measured
    """

    name = "native"

    def __init__(
        self,
        leaves: Sequence[nn.Module],
        optimizer: torch.optim.Optimizer,
        sites: Sequence[Site],
        layers: Sequence[str],
        schedule: Schedule,
        batch: int,
        library: Library,
    ) -> None:
        self.library, self.optimizer, self.schedule = library, optimizer, schedule
        self.sites, self.layers = tuple(sites), tuple(layers)
        self.native = NativeNetwork(leaves, optimizer, sites, batch, library.gemm)
        self.forward = nn.Sequential(*leaves)
        norms = [module for module in leaves if isinstance(module, nn.BatchNorm1d) and module.training]
        self.counters = [module.num_batches_tracked for module in norms if module.num_batches_tracked is not None]
        self.at_once = 1  # steps in a call
        self._steps: list[int] = []
        self._rows: list[np.ndarray] = []

    def run(self, stretch: Iterable[Batch], begin: int = 0, on_step: OnStep | None = None) -> Taken:
        assert isinstance(stretch, Picked)
        assert stretch.batch <= self.native.batch
        count = len(stretch)
        measured = np.array([self.schedule(begin + step) for step in range(count)], np.uint8)
        losses, right = np.zeros(count), np.zeros(1, np.int64)
        done = samples = 0
        stopped = False
        while done < count and not stopped:
            part = stretch.part(done, 1 if on_step else self.at_once)
            began = time.perf_counter()
            self._call(part, measured[done:], losses[done:], right, begin + done)
            self.at_once = max(1, _full_batches(part, CALL_S / (time.perf_counter() - began)))
            if on_step:
                stopped = bool(on_step(begin + done, torch.tensor(losses[done])))
            done += len(part)
            samples += len(part.order_M)
        return Taken(
            torch.tensor(losses.sum()), torch.tensor(float(right[0]), dtype=torch.float64), done, samples, stopped
        )

    def _call(self, part: Picked, measured: np.ndarray, losses: np.ndarray, right: np.ndarray, begin: int) -> None:
        """The arrays begin at the part's first step; the memory that their pointers lead to is `run`'s."""
        steps = [begin + int(step) for step in np.flatnonzero(measured[: len(part)])]
        rows = np.full((len(steps), len(self.sites), len(COLUMNS)), np.nan)
        self.library.code.steps(
            ctypes.byref(self.native.network),
            ctypes.byref(_struct(part)),
            *(array.ctypes.data for array in (measured, losses, right, rows)),
        )
        update.count(self.optimizer, self.native.network.optimizer)
        for counter in self.counters:
            counter += len(part)
        self._steps += steps
        self._rows += list(rows)

    def evaluate(self, batches: Iterable[Batch]) -> Evaluated:
        assert isinstance(batches, Picked)
        assert batches.batch <= self.native.batch
        count, samples, done = len(batches), len(batches.order_M), 0
        losses, right = np.zeros(count), np.zeros(1, np.int64)  # summed at the end: a call takes more or less of them
        while done < count:
            part = batches.part(done, 3 * self.at_once)  # a step takes three times as long
            self.library.code.evaluate(
                ctypes.byref(self.native.network),
                ctypes.byref(_struct(part)),
                losses[done:].ctypes.data,
                right.ctypes.data,
            )
            done += len(part)
        return Evaluated(
            count,
            torch.tensor(losses.sum() / (count or float("nan")), dtype=torch.float64),
            torch.tensor(right[0] / (samples or float("nan")), dtype=torch.float64),
        )

    def take(self) -> list[Table]:
        steps, rows_SLC = tuple(self._steps), np.array(self._rows)
        self._steps, self._rows = [], []
        values = {quantity.name: np.full((len(steps), len(self.layers)), np.nan) for quantity in ALL}
        for place, site in enumerate(self.sites):
            if not steps:
                break
            signals = _signals(rows_SLC[:, place], site)
            for quantity in ALL:
                if (number_S := quantity.of(signals)) is not None:
                    values[quantity.name][:, site.index] = in_table(quantity.name, np.asarray(number_S))
        return [Table(self.layers, steps, values, {self.layers[site.index]: len(site.weight) for site in self.sites})]


def _full_batches(part: Picked, times: float) -> int:
    """So many times a part, in whole batches: the last one of an epoch, which may be short, took less time."""
    return int(times * len(part.order_M) / part.batch)


def _struct(part: Picked) -> CStretch:
    samples = part.images.pixels_ND
    return CStretch(
        samples_ND=samples.data_ptr(),
        labels_N=part.images.labels_N.data_ptr(),
        order_M=part.order_M.data_ptr(),
        bytes=samples.dtype is torch.uint8,
        size=len(part.order_M),
        batch=part.batch,
    )


class _Columns:
    """A `Signal` of several steps, by its columns."""

    def __init__(self, **columns: Tensor | None) -> None:
        self.__dict__.update(dict.fromkeys(("mean", "std", "norm", "rms", "spread", "saturated", "dead")) | columns)


def _signals(rows_SC: np.ndarray, site: Site) -> Signals:
    column = dict(zip(COLUMNS, torch.from_numpy(rows_SC).unbind(-1), strict=True))
    z = _Columns(
        mean=column["z_mean"],
        std=column["z_std"],
        saturated=column["saturated"] if site.region.two_sided else None,
        dead=None if site.region == EVERYWHERE else column["dead"],
    )
    h = _Columns(mean=column["h_mean"], std=column["h_std"], rms=column["h_rms"], spread=column["spread"])
    parts: dict[str, Any] = {
        "pre_activation": z,
        "activation": h,
        "backward": _Columns(rms=column["backward_rms"], norm=column["backward_norm"]),
        "weight_gradient": _Columns(norm=column["weight_gradient"]),
        "update": _Columns(norm=column["update"]),
        "weight": _Columns(norm=column["weight"]),
    }
    return Signals(**parts)
