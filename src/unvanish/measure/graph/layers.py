"""The layers of a network, read from the autograd graph of one forward pass.

Autograd keeps a node for everything that was computed, whatever it was written as: a module, a function, a
method, an operation in place, one weight used in several places or once for every time step. It also keeps
the tensors that the backward pass will need: the input of every weight, the output of most activations.
So the graph tells what hooks on modules cannot, and nothing in the model has to be touched.

A *layer* is a weight (a matrix or a kernel), with a *call* for each node that uses it, in forward order.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from unvanish.core.blocks import Block
from unvanish.measure.graph.operations import (
    LEAF,
    NONLINEAR,
    NORMS,
    ON_A_WEIGHT,
    VIEWS,
    WEIGHT_OPS,
    Node,
    base,
    is_opaque,
    kept,
    without_number,
)

REACH = 12  # how far from a layer its activation may be: norms, sums, views and dropout stand between


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a weight: the node, and what follows it up to the next weights.

    direct   the nodes between the product and its activation, where these only normalise or reshape; `None` where
             something else joins between, so that the activation's input is not this layer's alone. Without an
             activation, the nodes that shift or reshape the product
    """

    node: Node
    leaf: Node
    input_kept: str
    activation: Node | None
    direct: tuple[Node, ...] | None
    next: Node | None
    next_input_kept: str

    def next_input(self) -> Tensor | None:
        return kept(self.next, self.next_input_kept) if self.next is not None else None

    def units(self) -> tuple[int, int, int] | None:
        """Of the product's shape: how many units, on which axis, and of how many; only the operation knows that."""
        shape = self.node._input_metadata[0].shape  # pyright: ignore[reportAttributeAccessIssue]
        axis = 1 if base(self.node) == "ConvolutionBackward" else len(shape) - 1
        return (int(shape[axis]), axis, len(shape)) if len(shape) > 1 else None


@dataclass(frozen=True, eq=False)
class Layer:
    name: str
    weight: nn.Parameter
    calls: list[Call] = field(default_factory=list)


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
    found = [(node, weight) for node in consumers if (weight := _weight(node, names)) is not None]
    weighted = dict(sorted(found, key=lambda pair: pair[0]._sequence_nr()))
    layers: dict[int, Layer] = {}
    for node, (weight, leaf, input_kept) in weighted.items():
        layer = layers.setdefault(id(weight), Layer(names[id(weight)], weight))
        activation, following = _ahead(node, consumers, weighted) if forward else (None, None)
        direct = _direct(node, activation, consumers) if forward else _straight(node, consumers)
        if not forward and direct is not None:
            activation, direct = direct[-1], direct[:-1]
        kept_as = weighted[following][2] if following else ""
        layer.calls.append(Call(node, leaf, input_kept, activation, direct, following, kept_as))
    return list(layers.values())


def names_of(model: nn.Module, blocks: Sequence[Block] = (), lead: int = 0) -> dict[int, str]:
    """The name of every parameter: its module's, or its own where the module holds several weights.

    A parameter within a block is named as the block is, by its first module, where no other weight is in the block.
    Of an ensemble, each has `lead` dimensions more.

    >>> names = names_of(nn.Sequential(nn.Linear(2, 2), nn.RNN(2, 2)))
    >>> list(names.values())[0], list(names.values())[2]
    ('0', '1.weight_ih_l0')
    """
    names: dict[int, str] = {}
    weights = {block[0]: set[int]() for block in blocks}
    inside: dict[int, str] = {}
    for full, parameter in model.named_parameters():
        name = re.sub(r"\.parametrizations\.(\w+)\.original\d?$", r".\1", full)
        if "_torch_params." in name:  # Keras's: model/layer/kernel
            names[id(parameter)] = "/".join(name.rpartition("_torch_params.")[2].split("/")[1:-1])
            continue
        owner, _, own = name.rpartition(".")
        names[id(parameter)] = owner if own in ("weight", "bias", "weight_g", "weight_v") and owner else name
        block = next((block[0] for block in blocks for part in block if f"{full}.".startswith(f"{part}.")), None)
        if block is not None and parameter.dim() > 1 + lead:
            weights[block].add(id(parameter))
            inside[id(parameter)] = block
    return names | {key: block for key, block in inside.items() if len(weights[block]) == 1}


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


Weight = tuple[nn.Parameter, Node, str]  # the weight, its leaf, and the attribute that keeps the other operand


def _weight(node: Node, names: Mapping[int, str]) -> Weight | None:
    """The weight that a node multiplies with: of two leaves, that which has a name, for the other may be the input."""
    name = node.name()
    operands = WEIGHT_OPS.get(without_number(name))
    if operands is None:
        return _behind(node, names) if is_opaque(name) else None
    for (_, edge), (other_kept, _) in (operands, operands[::-1]):
        edges = node.next_functions
        start = edges[edge][0] if edge < len(edges) else None
        found = _leaf(start) if start is not None else None
        if found is not None and id(found[0]) in names:
            return *found, other_kept
    return None


def _behind(node: Node, names: Mapping[int, str]) -> Weight | None:
    """The weight that stands right behind an operation, if one does."""
    for before, _ in node.next_functions:
        found = _leaf(before) if before is not None and before.name() == LEAF else None
        if found is not None and id(found[0]) in names:
            return *found, ""
    return None


def _leaf(node: Node) -> tuple[nn.Parameter, Node] | None:
    for _ in range(REACH):
        if node.name() == LEAF:
            weight: nn.Parameter = node.variable  # pyright: ignore[reportAttributeAccessIssue]
            return (weight, node) if weight.dim() > 1 else None
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
                if activation is None and base(after) in NONLINEAR:
                    activation = after
                through.append(after)
        front = through
        if not front or following is not None:
            break
    return activation, following


def _straight(node: Node, consumers: Mapping[Node, list[Node]]) -> tuple[Node, ...] | None:
    """The nodes from a product to its activation, which is the last of them, where they only normalise or reshape."""
    path: list[Node] = []
    for _ in range(REACH):
        after = consumers[node]
        if len(after) != 1:
            return None
        node = after[0]
        path.append(node)
        name = base(node)
        if name in NONLINEAR:
            return tuple(path)
        if name not in VIEWS and name not in NORMS and not _scales_or_shifts(node):
            return None
    return None


def _direct(node: Node, activation: Node | None, consumers: Mapping[Node, list[Node]]) -> tuple[Node, ...] | None:
    if activation is None:
        return _shifted(node, consumers)
    path = _straight(node, consumers)
    return path[:-1] if path is not None and path[-1] == activation else None


def _shifted(node: Node, consumers: Mapping[Node, list[Node]]) -> tuple[Node, ...]:
    path: list[Node] = []
    while len(path) < REACH and len(after := consumers[node]) == 1:
        node = after[0]
        if base(node) not in VIEWS and not _scales_or_shifts(node):
            break
        path.append(node)
    return tuple(path)


def _scales_or_shifts(node: Node) -> bool:
    """Whether it adds a parameter or multiplies by one."""
    if base(node) not in ("AddBackward", "MulBackward"):
        return False
    return any(before is not None and _is_parameter(before) for before, _ in node.next_functions)


def _is_parameter(node: Node) -> bool:
    for _ in range(REACH):
        if node.name() == LEAF:
            return True
        ahead = [before for before, _ in node.next_functions if before is not None]
        if (base(node) not in VIEWS and base(node) != "MulBackward") or len(ahead) != 1:
            return False
        node = ahead[0]
    return False
