"""Measures one forward and backward pass of any network, on the graph that autograd has made of it.

What comes forward is read from the tensors that autograd keeps; what comes backward is read by hooks on the
graph's nodes, which work whatever is done in place and vanish with the graph. Reductions stay on the device
until `reading` fetches all of them at once.
"""
# B batch, D features, L layers, U units

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from unvanish.core.reading import QUANTITIES, Reading
from unvanish.core.signal import TensorSignal, dead_units
from unvanish.doctor.graph import Layer, layers_behind

norm = torch.linalg.vector_norm
CALL = "call "
LEAST_ROWS = 8
SEEN_CALLS = 8  # of a weight that is used at every time step, so many calls are read forward


@dataclass
class Pass:
    """The layers of one pass and what was measured of them: by layer and quantity, 0-dimensional, on the device.

    dead    for each layer the booleans of its units, [U]
    sizes   how many elements the backward signal of a layer has
    """

    layers: list[Layer]
    forward: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)
    backward: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    dead: dict[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def listen(
    outputs: Iterable[Tensor],
    names: Mapping[int, str],
    elements: int | None = None,
    *,
    forward: bool = True,
) -> Pass:
    """Measure the forward pass that made `outputs`, and the backward pass as soon as it runs.

    elements   of each tensor, look at about so many only, forward: at its first rows
    forward    whether to look forward at all
    """
    seen = Pass(layers_behind(outputs, names, forward=forward))
    for layer in seen.layers:
        if forward:
            _look(seen, layer, elements)
        seen.backward[layer.name] = {}
        seen.sizes[layer.name] = 0
        for number, call in enumerate(layer.calls):
            call.node.register_prehook(_on_gradient(seen, layer.name, number))
    return seen


def _on_gradient(seen: Pass, name: str, number: int) -> Callable[[tuple[Tensor | None, ...]], None]:
    def hook(gradients: tuple[Tensor | None, ...]) -> None:
        dz = gradients[0]
        if dz is not None:
            seen.sizes[name] += dz.numel()
            seen.backward[name][number] = size(dz.detach())

    return hook


def _look(seen: Pass, layer: Layer, elements: int | None) -> None:
    alive: list[Tensor] = []
    for call in layer.calls[:: max(1, len(layer.calls) // SEEN_CALLS)]:
        h = call.output()
        if h is not None and h.is_floating_point() and h.dim() > 1:
            h = _some(h, elements)
            seen.forward.setdefault((layer.name, "activation_rms_L"), []).append(norm(h) / h.numel() ** 0.5)
            if len(h) > 1:
                seen.forward.setdefault((layer.name, "spread_L"), []).append(spread(h))
        ends = call.flat_ends()
        if ends is not None and ends[0].dim() > 1:
            z, region = _some(ends[0], elements), ends[1]
            if region.two_sided:
                value = TensorSignal(z, region).saturated
                seen.forward.setdefault((layer.name, "saturated_L"), []).append(value)
            else:
                alive.append(dead_units(z, region))
    if alive:
        seen.dead[layer.name] = alive[0] if len(alive) == 1 else torch.stack(alive).all(0)


def spread(h: Tensor) -> Tensor:
    """√(½ mean (h_i − h_j)²) over pairs of different inputs: the standard deviation from input to input.

    From differences, because a variance as E[h²] − E[h]² would cancel where all inputs are nearly one.
    """
    half = len(h) // 2
    difference = h[:half] - h[half : 2 * half]
    return norm(difference) / (2 * difference.numel()) ** 0.5


def _some(h: Tensor, elements: int | None) -> Tensor:
    if elements is not None and h.numel() > elements:
        h = h[: max(LEAST_ROWS, elements * len(h) // h.numel())]
    return h.to(torch.promote_types(h.dtype, torch.float32))


@dataclass(frozen=True)
class Measured:
    """What was measured in some passes, still on the device and free of their graphs."""

    layers: tuple[str, ...]
    keys: list[tuple[str, str]]  # layer and quantity
    values: list[Tensor]  # 0-dimensional
    sizes: dict[str, int]


def measured(
    seen: Sequence[Pass],
    gradients: Mapping[str, Tensor] | None = None,
    updates: Mapping[str, Tensor] | None = None,
) -> Measured:
    """All numbers of some passes of one network.

    gradients   ‖∂loss/∂W‖ by layer
    updates     ‖ΔW‖/‖W‖ by layer
    """
    pairs: list[tuple[tuple[str, str], Tensor]] = []
    for one in seen:
        pairs += [(key, value) for key, values in one.forward.items() for value in values]
        pairs += [
            ((name, f"{CALL}{number}"), value)
            for name, calls in one.backward.items()
            for number, value in calls.items()
        ]
    pairs += [((name, "dead_L"), share) for name, share in _dead(seen).items()]
    pairs += [((name, "gradient_norm_L"), value) for name, value in (gradients or {}).items()]
    pairs += [((name, "update_ratio_L"), value) for name, value in (updates or {}).items()]
    names = tuple(dict.fromkeys(layer.name for one in seen for layer in one.layers))
    sizes = {name: max(one.sizes.get(name, 0) for one in seen) for name in names}
    return Measured(names, [key for key, _ in pairs], [value for _, value in pairs], sizes)


def fetched(waiting: Sequence[Measured]) -> list[Reading]:
    """The readings, all their numbers in one transfer from the device. Each is a mean over its passes."""
    values = [value for one in waiting for value in one.values]
    numbers = iter(torch.stack(values).tolist() if values else [])
    return [_reading(one, list(islice(numbers, len(one.values)))) for one in waiting]


def reading(
    seen: Sequence[Pass],
    gradients: Mapping[str, Tensor] | None = None,
    updates: Mapping[str, Tensor] | None = None,
) -> Reading:
    """`fetched` of one `measured`."""
    return fetched([measured(seen, gradients, updates)])[0]


def _reading(one: Measured, numbers: Sequence[float]) -> Reading:
    where = {name: index for index, name in enumerate(one.layers)}
    sums = {name: np.zeros((2, len(where))) for name in QUANTITIES}  # total and count
    calls: dict[str, dict[int, list[float]]] = {}
    for (name, quantity), value in zip(one.keys, numbers, strict=True):
        if quantity.startswith(CALL):
            calls.setdefault(name, {}).setdefault(int(quantity.removeprefix(CALL)), []).append(value)
        elif name in where and not (quantity == "update_ratio_L" and math.isnan(value)):  # of weights that were all 0
            sums[quantity][:, where[name]] += value if value == value else math.inf, 1  # NaN means "not measured"
    times: dict[str, np.ndarray] = {}
    for name, by_call in calls.items():
        each = np.array([np.mean(by_call[number]) for number in sorted(by_call)])
        each[np.isnan(each)] = math.inf
        total = float(np.sqrt(np.square(each).sum()))
        sums["backward_norm_L"][:, where[name]] = total, 1
        sums["backward_rms_L"][:, where[name]] = total / max(one.sizes[name], 1) ** 0.5, 1
        if len(each) > 1:
            times[name] = each
    columns = {name: np.where(count > 0, total / np.maximum(count, 1), np.nan) for name, (total, count) in sums.items()}
    return Reading(one.layers, **columns, through_time=times)


def _dead(seen: Sequence[Pass]) -> dict[str, Tensor]:
    """The fraction of dead units by layer."""
    masks: dict[str, list[Tensor]] = {}
    for one in seen:
        for name, mask in one.dead.items():
            masks.setdefault(name, []).append(mask)
    same = {name: found for name, found in masks.items() if len({mask.shape for mask in found}) == 1}
    return {
        name: (found[0] if len(found) == 1 else torch.stack(found).all(0)).float().mean()
        for name, found in same.items()
    }


def gradient_norms(layers: Iterable[Layer]) -> dict[str, Tensor]:
    return {layer.name: size(_dense(layer.weight.grad)) for layer in layers if layer.weight.grad is not None}


def update_ratios(layers: Iterable[Layer], before: Mapping[nn.Parameter, Tensor]) -> dict[str, Tensor]:
    return {
        layer.name: size(layer.weight.detach() - before[layer.weight]) / size(before[layer.weight])
        for layer in layers
        if layer.weight in before
    }


def size(values: Tensor) -> Tensor:
    """The Euclidean norm over all elements; of half precision, counted in float32."""
    return norm(values, dtype=torch.promote_types(values.dtype, torch.float32))


def _dense(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient
