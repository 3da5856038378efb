"""Observes one forward and backward pass of any network, on the graph that autograd has made of it.

What comes forward is read from the tensors that autograd keeps; what comes backward is read by hooks on the
graph's nodes, which work whatever is done in place and vanish with the graph. Reductions stay on the device.
"""
# B batch, U units, R runs (none in front where a run is alone)

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from unvanish.measure.graph.layers import Call, Layer, layers_behind
from unvanish.measure.graph.operations import VIEWS, Node, base, flat_ends, h_of, value_of, z_of
from unvanish.measure.guard import Guard
from unvanish.measure.moments import Number
from unvanish.measure.quantity import Signals
from unvanish.measure.signal import Moments, dead_units, moments, pooled, saturated_share, size

LEAST_ROWS = 8
SEEN_CALLS = 8  # of a weight that is used at every time step, so many calls are read forward


@dataclass(frozen=True)
class How:
    """How passes are observed.

    names      of parameters, by `id`
    elements   of each tensor, look at about so many only, forward: at its first rows; `None` is all
    inputs     what the graph does not keep: the inputs of activations, by the activation's node, and the network's
               output, by its own
    lead       how many dimensions stand before the batch: 1 for an ensemble, else 0
    """

    names: Mapping[int, str]
    guard: Guard = field(default_factory=Guard)
    elements: int | None = None
    inputs: Mapping[Node, Tensor] = field(default_factory=dict)
    lead: int = 0


@dataclass(eq=False)
class Pass:
    """The layers of one pass, and what was seen of them, by name."""

    layers: list[Layer]
    z: dict[str, list[Moments]] = field(default_factory=dict)
    h: dict[str, list[Moments]] = field(default_factory=dict)
    backward: dict[str, dict[int, Moments]] = field(default_factory=dict)  # by call
    units: dict[str, int] = field(default_factory=dict)

    @property
    def came_back(self) -> bool:
        """Whether its backward pass has run."""
        return any(self.backward.values())


@torch.no_grad()
def observe(outputs: Iterable[Tensor], how: How, *, forward: bool = True) -> Pass:
    """Observe the forward pass that made `outputs`, and the backward pass as soon as it runs.

    forward    whether to look forward at all
    """
    seen = Pass(layers_behind(outputs, how.names, forward=forward))
    for layer in seen.layers:
        seen.backward[layer.name] = {}
        if forward:
            for call in layer.calls[:: max(1, len(layer.calls) // SEEN_CALLS)]:
                how.guard.run((layer.name, "activation"), _look, seen, layer.name, call, how)
        for number, call in enumerate(layer.calls):
            _listen(seen, layer.name, number, call, how)
    return seen


def _listen(seen: Pass, name: str, number: int, call: Call, how: How) -> None:
    """Take the backward signal at the activation's input; where that is not this layer's alone, at the product."""
    earlier: list[Tensor] = []  # of a graph that is gone through twice, both gradients count together
    # Neither the call nor `how` is used below: both lead to nodes that have this hook, and such a cycle would keep the
    # whole graph in memory until Python's collector runs.
    leaf, guard, lead = call.leaf, how.guard, how.lead

    def take(gradients: Sequence[Tensor | None]) -> None:
        dz = gradients[0]
        if dz is not None and _reaches(leaf):
            whole = dz.detach() if not earlier else earlier.pop() + dz.detach()
            if _goes_on():
                earlier.append(whole)
            seen.backward[name][number] = size(whole, lead=lead)

    if call.activation is not None and call.direct is not None:
        call.activation.register_hook(lambda inner, _outer: guard.run((name, "backward signal"), take, inner))
    else:
        call.node.register_prehook(lambda outer: guard.run((name, "backward signal"), take, outer))


def _reaches(leaf: Node) -> bool:
    """Whether this backward pass is for the weight: a model may differentiate by its input on the way."""
    will_run: Callable[[Node], bool] | None = getattr(torch._C, "_will_engine_execute_node", None)
    try:
        return will_run is None or will_run(leaf)
    except RuntimeError:  # torch.autograd.grad by the weight itself
        return True


def _goes_on() -> bool:
    """Whether the graph is kept for another backward pass."""
    autograd = getattr(torch._C, "_autograd", None)
    keeps: Callable[[], bool] | None = getattr(autograd, "_get_current_graph_task_keep_graph", None)
    return keeps is not None and keeps()


def _look(seen: Pass, name: str, call: Call, how: How) -> None:
    units = call.units()
    if units is not None:
        seen.units[name] = units[0]
    z = _pre_activation(call, how)
    of_z = Moments(0) if z is None else moments(z, lead=how.lead)
    ends = flat_ends(call.activation, _input_of(call.activation, how)) if call.activation is not None else None
    if ends is not None and ends[0].dim() > 1 + how.lead and ends[0].is_floating_point():
        shown, region = _some(ends[0], how), ends[1]
        axis = _unit_axis(ends[0], units, how.lead)
        dead_U = None if axis is None else dead_units(shown, region, axis, how.lead)
        of_z = replace(of_z, saturated=saturated_share(shown, region, how.lead), dead_U=dead_U)
    seen.z.setdefault(name, []).append(of_z)
    h = _activation(call, z)
    if h is not None and h.is_floating_point() and h.dim() > 1:
        seen.h.setdefault(name, []).append(moments(_some(h, how), lead=how.lead, batch=True))


def _input_of(activation: Node, how: How) -> Tensor | None:
    z = z_of(activation)
    return how.inputs.get(activation) if z is None else z


def _pre_activation(call: Call, how: How) -> Tensor | None:
    """The activation's input if it is this layer's alone, else the product; some rows of it."""
    made_by = call.node
    if call.activation is not None and call.direct is not None:
        z = _input_of(call.activation, how)
        if z is not None:
            return _some(z, how)
        made_by = next((node for node in reversed(call.direct) if base(node) not in VIEWS), call.node)
    elif (known := next((node for node in reversed(call.direct or ()) if node in how.inputs), None)) is not None:
        return _some(how.inputs[known], how)
    shape = made_by._input_metadata[0].shape  # pyright: ignore[reportAttributeAccessIssue]
    return value_of(made_by, slice(0, _rows(shape, how)))


def _activation(call: Call, z: Tensor | None) -> Tensor | None:
    """What the activation gives; of a layer without one, what the next weight gets, or the layer's own product."""
    if call.activation is None:
        return call.next_input() if call.next is not None else z
    own_z = z if call.direct is not None else z_of(call.activation)
    h = h_of(call.activation, own_z)
    return call.next_input() if h is None else h


def _unit_axis(shown: Tensor, units: tuple[int, int, int] | None, lead: int) -> int | None:
    """Where the units are in a tensor behind a layer; `None` where a view in between may have moved them."""
    if units is None:
        return None
    count, axis, dims = units
    if shown.dim() == dims and shown.shape[axis] == count:
        return axis
    features_last = axis == dims - 1 and (shown.shape[-1] == count or shown.dim() == 2 + lead)
    return shown.dim() - 1 if features_last else None


def _some(h: Tensor, how: How) -> Tensor:
    return h if how.elements is None or h.numel() <= how.elements else h[: _rows(h.shape, how)]


def _rows(shape: Sequence[int], how: How) -> int | None:
    numel = prod(shape)
    if how.elements is None or numel <= how.elements:
        return None
    return max(LEAST_ROWS, how.elements * shape[0] // numel)


def signals(passes: Sequence[Pass], gradients: Mapping[str, Moments] | None = None) -> dict[str, Signals]:
    """What passed through each layer at a step of one or several passes, free of their graphs.

    gradients   of the weights, by layer
    """
    found = {}
    for name in dict.fromkeys(layer.name for one in passes for layer in one.layers):
        found[name] = Signals(
            pooled([part for one in passes for part in one.z.get(name, ())]),
            pooled([part for one in passes for part in one.h.get(name, ())]),
            _backward([one.backward[name] for one in passes if one.backward.get(name)]),
            (gradients or {}).get(name),
        )
    return found


def _backward(by_pass: Sequence[Mapping[int, Moments]]) -> Moments | None:
    """Of the calls of a pass the squares add up; the norm is their mean over the passes."""
    whole = [found for calls in by_pass if (found := pooled(list(calls.values()))) is not None]
    if len(whole) < 2:
        return whole[0] if whole else None
    norms = [torch.as_tensor(one.norm).double() for one in whole if one.norm is not None]
    return Moments(max(one.size for one in whole), torch.stack(norms).mean(0))


def over_calls(passes: Sequence[Pass]) -> dict[str, list[Number]]:
    """The backward norms of a weight that is used many times in a pass, by use."""
    found = {}
    for name, calls in (item for one in passes for item in one.backward.items()):
        norms = [calls[number].norm for number in sorted(calls)]
        if len(norms) > 1:
            found[name] = norms
    return found


def of_gradients(layers: Iterable[Layer], lead: int = 0) -> dict[str, Moments]:
    return {layer.name: size(_dense(layer.weight.grad), lead=lead) for layer in layers if layer.weight.grad is not None}


def of_updates(
    layers: Iterable[Layer], before: Mapping[Any, Tensor], lead: int = 0
) -> dict[str, tuple[Moments, Moments]]:
    return {
        layer.name: (
            size(layer.weight.detach() - before[layer.weight], lead=lead),
            size(before[layer.weight], lead=lead),
        )
        for layer in layers
        if layer.weight in before
    }


def _dense(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient
