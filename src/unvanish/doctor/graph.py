"""The layers of a network, read from the autograd graph of one forward pass.

Autograd keeps a node for everything that was computed, whatever it was written as: a module, a function, a
method, an operation in place, one weight used in several places or once for every time step. It also keeps
the tensors that the backward pass will need: the input of every weight, the output of most activations.
So the graph tells what hooks on modules cannot, and nothing in the model has to be touched.

A *layer* is a weight (a matrix or a kernel), with a *call* for each node that uses it, in forward order.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.region import Region
from unvanish.core.sites import EVERYWHERE, FLAT

Node = torch.autograd.graph.Node

# Operations with a weight: for either operand, the attribute that keeps it and the edge that it came by.
WEIGHT_OPS: dict[str, tuple[tuple[str, int], tuple[str, int]]] = {
    "AddmmBackward": (("_saved_mat1", 1), ("_saved_mat2", 2)),
    "MmBackward": (("_saved_self", 0), ("_saved_mat2", 1)),
    "BmmBackward": (("_saved_self", 0), ("_saved_mat2", 1)),
    "BaddbmmBackward": (("_saved_batch1", 1), ("_saved_batch2", 2)),
    "MvBackward": (("_saved_self", 0), ("_saved_vec", 1)),
    "LinearBackward": (("_saved_input", 0), ("_saved_weight", 1)),
    "ConvolutionBackward": (("_saved_input", 0), ("_saved_weight", 1)),
    "EmbeddingBackward": (("_saved_indices", 9), ("", 0)),  # its input is no edge
}

# What may stand between a weight and the operation that uses it: views, casts, parametrizations.
ON_A_WEIGHT = frozenset(
    f"{name}Backward"
    for name in (
        *("T", "Transpose", "Permute", "View", "UnsafeView", "ReshapeAlias", "Expand", "Clone", "ToCopy", "Split"),
        *("SplitWithSizes", "Slice", "Select", "Unsqueeze", "Squeeze", "WeightNormInterface", "Div", "Mul"),
    )
)
# Other operations with a weight, whose input is not looked for; so are custom functions, whose names have no number.
OPAQUE_OPS = frozenset(f"{name}Backward" for name in ("EmbeddingBag", "Trilinear", "MkldnnRnnLayer", "CudnnRnn"))
LEAF = "torch::autograd::AccumulateGrad"
REACH = 12  # how far from a layer its activation may be: norms, sums, views and dropout stand between

SMOOTH = frozenset(
    f"{name}Backward"
    for name in (
        "Gelu",
        "Silu",
        "Elu",
        "Celu",
        "LeakyRelu",
        "PreluKernel",
        "Mish",
        "Softplus",
        "Hardswish",
        "LogSigmoid",
    )
)

WITH_FLAT_ENDS = frozenset(
    f"{name}Backward"
    for name in ("Sigmoid", "Tanh", "Relu", "Threshold", "Hardsigmoid", "Hardtanh", "Clamp", "ClampMin")
)
NONLINEAR = SMOOTH | WITH_FLAT_ENDS


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a weight: the node, and what follows it up to the next weights."""

    node: Node
    input_kept: str
    activation: Node | None
    next: Node | None
    next_input_kept: str

    def input(self) -> Tensor | None:
        return kept(self.node, self.input_kept)

    def output(self) -> Tensor | None:
        """What the layer hands on: its activation's output, or else the next weight's input."""
        if self.activation is not None and base(self.activation) in ("SigmoidBackward", "TanhBackward", "ReluBackward"):
            return kept(self.activation, "_saved_result")
        return kept(self.next, self.next_input_kept) if self.next is not None else None

    def flat_ends(self) -> tuple[Tensor, Region] | None:
        """A tensor that shows where the activation is flat, and where it is not; `None` if nowhere."""
        return flat_ends(self.activation) if self.activation is not None else None


@dataclass(frozen=True, eq=False)
class Layer:
    name: str
    weight: nn.Parameter
    calls: list[Call] = field(default_factory=list)


def base(node: Node) -> str:
    """`AddmmBackward` of `AddmmBackward0`."""
    return _without_number(node.name())


@cache
def _without_number(name: str) -> str:
    return name.rstrip("0123456789")


def kept(node: Node, attribute: str) -> Tensor | None:
    """A tensor that autograd keeps; `None` where it is not needed, or was freed, or was overwritten in place.

    Nor where somebody's hooks keep it: to look at what a checkpointed region has put away would run it again.
    """
    raw = getattr(node, attribute.replace("_saved", "_raw_saved"), None)
    if getattr(raw, "unpack_hook", None) is not None:
        return None
    try:
        value = getattr(node, attribute, None)
    except RuntimeError:
        return None
    return value.detach() if isinstance(value, Tensor) and not value.is_complex() else None


def flat_ends(activation: Node) -> tuple[Tensor, Region] | None:
    name = base(activation)
    if name == "SigmoidBackward":  # s(1−s) < FLAT/4 beyond s = (1 ± √(1−FLAT))/2
        half = (1 - FLAT) ** 0.5 / 2
        return _with(kept(activation, "_saved_result"), Region(0.5 - half, 0.5 + half))
    if name == "TanhBackward":  # 1 − h² < FLAT
        return _with(kept(activation, "_saved_result"), Region(-((1 - FLAT) ** 0.5), (1 - FLAT) ** 0.5))
    if name == "ReluBackward":
        return _with(kept(activation, "_saved_result"), Region(0.0, float("inf")))
    if name == "ThresholdBackward":
        return _with(kept(activation, "_saved_self"), Region(float(activation._saved_threshold), float("inf")))  # pyright: ignore
    if name == "HardsigmoidBackward":
        return _with(kept(activation, "_saved_self"), Region(-3.0, 3.0))
    if name in ("HardtanhBackward", "ClampBackward", "ClampMinBackward"):
        low = getattr(activation, "_saved_min_val", getattr(activation, "_saved_min", None))
        high = getattr(activation, "_saved_max_val", getattr(activation, "_saved_max", None))
        if low == 0:  # ReLU6 is a ReLU: half of a healthy layer is on its flat side
            high = None
        ends = (float("-inf") if low is None else float(low), float("inf") if high is None else float(high))
        return _with(kept(activation, "_saved_self"), Region(*ends))
    return None


def _with(tensor: Tensor | None, region: Region) -> tuple[Tensor, Region] | None:
    return None if tensor is None or region == EVERYWHERE else (tensor, region)


def is_nonlinear(node: Node) -> bool:
    return base(node) in NONLINEAR


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of any nesting of tuples, lists, dicts and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from tensors_in(inner)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, name))


def layers_behind(outputs: Iterable[Tensor], names: Mapping[int, str], *, forward: bool = True) -> list[Layer]:
    """The layers that take part in `outputs`, in forward order.

    names     from `id(parameter)` to the parameter's name, as `names_of` gives it
    forward   whether to look for the activations, too
    """
    consumers = _consumers(output.grad_fn for output in outputs)
    found = [(node, weight) for node in consumers if (weight := _weight(node)) is not None and id(weight[0]) in names]
    weighted = dict(sorted(found, key=lambda pair: pair[0]._sequence_nr()))
    layers: dict[int, Layer] = {}
    for node, (weight, input_kept) in weighted.items():
        layer = layers.setdefault(id(weight), Layer(names[id(weight)], weight))
        activation, following = _ahead(node, consumers, weighted) if forward else (None, None)
        layer.calls.append(Call(node, input_kept, activation, following, weighted[following][1] if following else ""))
    return list(layers.values())


def names_of(model: nn.Module) -> dict[int, str]:
    """The name of every parameter: its module's, or its own where the module holds several weights.

    >>> names = names_of(nn.Sequential(nn.Linear(2, 2), nn.RNN(2, 2)))
    >>> list(names.values())[0], list(names.values())[2]
    ('0', '1.weight_ih_l0')
    """
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters():
        name = re.sub(r"\.parametrizations\.(\w+)\.original\d?$", r".\1", name)
        owner, _, own = name.rpartition(".")
        names[id(parameter)] = owner if own in ("weight", "bias", "weight_g", "weight_v") and owner else name
    return names


def _consumers(starts: Iterable[Node | None]) -> dict[Node, list[Node]]:
    """Every node behind the starts, with the nodes that use its result."""
    found: dict[Node, list[Node]] = {node: [] for node in starts if node is not None}
    waiting = list(found)
    while waiting:
        node = waiting.pop()
        for before, _ in node.next_functions:
            if before is None:
                continue
            if before not in found:
                found[before] = []
                waiting.append(before)
            found[before].append(node)
    return found


def _weight(node: Node) -> tuple[nn.Parameter, str] | None:
    """The weight that a node multiplies with, and the attribute that keeps the other operand."""
    name = node.name()
    operands = WEIGHT_OPS.get(_without_number(name))
    if operands is None:
        return _behind(node) if _is_opaque(name) else None
    for (_, edge), (other_kept, _) in (operands, operands[::-1]):
        edges = node.next_functions
        start = edges[edge][0] if edge < len(edges) else None
        weight = _leaf(start) if start is not None else None
        if weight is not None:
            return weight, other_kept
    return None


@cache
def _is_opaque(name: str) -> bool:
    return _without_number(name) in OPAQUE_OPS or not name[-1].isdigit()


def _behind(node: Node) -> tuple[nn.Parameter, str] | None:
    """The weight that stands right behind an operation, if one does."""
    for before, _ in node.next_functions:
        if before is not None and before.name() == LEAF and before.variable.dim() > 1:  # pyright: ignore
            return before.variable, ""  # pyright: ignore
    return None


def _leaf(node: Node) -> nn.Parameter | None:
    for _ in range(REACH):
        if node.name() == LEAF:
            weight: nn.Parameter = node.variable  # pyright: ignore[reportAttributeAccessIssue]
            return weight if weight.dim() > 1 else None
        if base(node) not in ON_A_WEIGHT:
            return None
        ahead = [before for before, _ in node.next_functions if before is not None]
        if not ahead:
            return None
        node = ahead[0]
    return None


def _ahead(
    node: Node, consumers: Mapping[Node, list[Node]], weighted: Mapping[Node, Any]
) -> tuple[Node | None, Node | None]:
    """The activation that follows a weight, before the next weight; and that next weight."""
    activation: Node | None = None
    following: Node | None = None
    front, seen = [node], {node}
    for _ in range(REACH):
        front = [after for before in front for after in consumers[before] if after not in seen]
        front = list(dict.fromkeys(front))
        seen.update(front)
        through = []
        for after in front if len(front) == 1 else sorted(front, key=lambda node: node._sequence_nr()):
            if after in weighted:
                following = following or after
            else:
                if activation is None and is_nonlinear(after):
                    activation = after
                through.append(after)
        front = through
        if not front or following is not None:
            break
    return activation, following
