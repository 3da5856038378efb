"""Measures one forward and backward pass of any network, on the graph that autograd has made of it.

What comes forward is read from the tensors that autograd keeps; what comes backward is read by hooks on the
graph's nodes, which work whatever is done in place and vanish with the graph. Reductions stay on the device
until `reading` fetches all of them at once.
"""
# B batch, D features, L layers, U units

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from unvanish.core.moments import rms
from unvanish.core.reading import QUANTITIES, Reading
from unvanish.doctor.graph import Call, Layer, layers_behind
from unvanish.probes.dead import dead_units
from unvanish.probes.saturated import Saturated

SATURATED = Saturated()
SEEN_CALLS = 8  # of a weight that is used at every time step, so many calls are read forward


@dataclass
class Pass:
    """The layers of one pass and what was measured of them."""

    layers: list[Layer]
    rows: int | None
    forward: dict[str, list[Tensor | None]] = field(default_factory=dict)
    backward: list[list[Tensor | None]] = field(default_factory=list)
    numel: list[int] = field(default_factory=list)
    dead: list[Tensor | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.forward = {name: [None] * len(self.layers) for name in ("activation_rms_L", "spread_L", "saturated_L")}
        self.backward = [[None] * len(layer.calls) for layer in self.layers]
        self.numel = [0] * len(self.layers)
        self.dead = [None] * len(self.layers)


@torch.no_grad()
def listen(outputs: Iterable[Tensor], names: Mapping[int, str], rows: int | None = None) -> Pass:
    """Measure the forward pass that made `outputs`, and the backward pass as soon as it runs.

    rows    look at so many rows of a batch only, forward
    """
    seen = Pass(layers_behind(outputs, names), rows)
    for index, layer in enumerate(seen.layers):
        _look(seen, index, layer.calls)
        for number, call in enumerate(layer.calls):
            call.node.register_prehook(_on_gradient(seen, index, number))
    return seen


def _on_gradient(seen: Pass, index: int, number: int):  # noqa: ANN202
    def hook(gradients: tuple[Tensor | None, ...]) -> None:
        dz = gradients[0]
        if dz is not None:
            seen.numel[index] += dz.numel()
            seen.backward[index][number] = torch.linalg.vector_norm(dz.detach(), dtype=torch.float32)

    return hook


def _look(seen: Pass, index: int, calls: Sequence[Call]) -> None:
    stride = max(1, len(calls) // SEEN_CALLS)
    found: dict[str, list[Tensor]] = {name: [] for name in seen.forward}
    alive: list[Tensor] = []
    for call in calls[::stride]:
        h = call.output()
        if h is not None and h.is_floating_point() and h.dim() > 1:
            h = _some(h, seen.rows)
            found["activation_rms_L"].append(rms(h))
            found["spread_L"].append(rms(h - h.mean(0)))
        ends = call.rectified()
        if ends is not None and ends[0].dim() > 1:
            z, region = _some(ends[0], seen.rows), ends[1]
            if region.two_sided:
                found["saturated_L"].append(SATURATED.measure(z, z, region))
            alive.append(dead_units(z, region).logical_not())
    for name, values in found.items():
        seen.forward[name][index] = torch.stack(values).mean() if values else None
    if alive:
        seen.dead[index] = torch.stack(alive).any(0).logical_not()


def _some(h: Tensor, rows: int | None) -> Tensor:
    h = h if rows is None else h[:rows]
    return h.float()


def reading(
    seen: Sequence[Pass],
    gradients: Mapping[str, Tensor] | None = None,
    updates: Mapping[str, Tensor] | None = None,
) -> Reading:
    """The mean over passes, fetched from the device at once. A unit is dead if it was in all of them.

    gradients   ‖∂loss/∂W‖ by layer, 0-dimensional
    updates     ‖ΔW‖/‖W‖ by layer, 0-dimensional
    """
    layers = max((one.layers for one in seen), key=len)
    names = tuple(layer.name for layer in layers)
    where = {name: index for index, name in enumerate(names)}
    columns: dict[str, list[list[Tensor]]] = {name: [[] for _ in names] for name in QUANTITIES}
    times: dict[str, list[Tensor]] = {}
    dead: dict[str, list[Tensor]] = {}
    for one in seen:
        for index, layer in enumerate(one.layers):
            row = where.get(layer.name)
            if row is None:
                continue
            for name, values in one.forward.items():
                if (value := values[index]) is not None:
                    columns[name][row].append(value)
            norms = [norm for norm in one.backward[index] if norm is not None]
            if norms:
                total = torch.linalg.vector_norm(torch.stack(norms))
                columns["backward_norm_L"][row].append(total)
                columns["backward_rms_L"][row].append(total / one.numel[index] ** 0.5)
                if len(norms) > 1:
                    times.setdefault(layer.name, []).append(torch.stack(norms))
            if (mask := one.dead[index]) is not None:
                dead.setdefault(layer.name, []).append(mask)
    for name, masks in dead.items():
        if len({mask.shape for mask in masks}) == 1:
            columns["dead_L"][where[name]].append(torch.stack(masks).all(0).float().mean())
    for quantity, found in (("gradient_norm_L", gradients or {}), ("update_ratio_L", updates or {})):
        for name, value in found.items():
            if name in where:
                columns[quantity][where[name]].append(value)
    return Reading(
        names,
        **_fetched(columns),
        through_time={
            name: torch.stack(values).mean(0).double().cpu().numpy()
            for name, values in times.items()
            if len({len(value) for value in values}) == 1
        },
    )


def _fetched(columns: Mapping[str, list[list[Tensor]]]) -> dict[str, np.ndarray]:
    """All numbers in one transfer."""
    means = {(name, row): torch.stack(values).mean() for name, rows in columns.items() for row, values in enumerate(rows) if values}
    fetched = torch.stack(list(means.values())).double().cpu().numpy() if means else np.empty(0)
    arrays = {name: np.full(len(rows), np.nan) for name, rows in columns.items()}
    for (name, row), value in zip(means, fetched, strict=True):
        arrays[name][row] = value
    return arrays


def gradient_norms(layers: Iterable[Layer]) -> dict[str, Tensor]:
    return {
        layer.name: torch.linalg.vector_norm(_dense(layer.weight.grad), dtype=torch.float32)
        for layer in layers
        if layer.weight.grad is not None
    }


def update_ratios(layers: Iterable[Layer], before: Mapping[nn.Parameter, Tensor]) -> dict[str, Tensor]:
    norm = torch.linalg.vector_norm
    return {
        layer.name: norm(layer.weight.detach() - before[layer.weight], dtype=torch.float32)
        / norm(before[layer.weight], dtype=torch.float32)
        for layer in layers
        if layer.weight in before
    }


def _dense(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient
