"""Fixup's initial weights: residual branches that start at 0, so that depth needs no normalisation.

    W ← W L^(−1/(2m − 2)) for all weight layers of a branch but its last,    last ← 0,    output layer ← 0

of L branches with m weight layers each. One step of SGD then changes the output by the rate, whatever the depth (Zhang,
Dauphin & Ma 2019, "Fixup initialization", theorem and section 3; W from He's N(0, 2/fan_in)).

Limitations: for networks that have skips, as `x + f(x)`: they are found in the traced graph (`torch.fx`), so a forward
pass that depends on its values is refused. A branch that ends with an activation is left as it is: ReLU has no slope at
0, and would never leave it (`ReZero` is for those). Fixup's learned scalars between the layers are not added.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, final

import torch
from torch import fx, nn

from unvanish.core.activations import is_activation
from unvanish.core.blocks import WEIGHT_LAYERS, Block
from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import InitRemedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated

ADDS = ("add", "add_", "iadd")


@final
@validated
class FixupInit(InitRemedy):
    """Draw the weights inside residual branches small, and the last of each and the output layer as 0."""

    kind: ClassVar[str] = "fixup-init"

    def refuse(self, setup: Setup) -> None:
        if not branches(setup.model):
            raise NothingToDo(
                "Fixup is for skips, x + f(x), around branches that end with a Linear or convolution layer, and the "
                "network has none"
            )

    @torch.no_grad()
    def draw(self, model: nn.Module, blocks: Sequence[Block], output: str, example: Any) -> None:
        found = branches(model)
        for layers in found:
            for name in layers:
                layer = model.get_submodule(name)
                weight = layer.get_parameter("weight")
                if name == layers[-1]:
                    weight.zero_()
                else:
                    nn.init.kaiming_normal_(weight, nonlinearity="relu")
                    weight.mul_(len(found) ** (-1 / (2 * len(layers) - 2)))
                _without_bias(layer)
        last = model.get_submodule(output)
        if isinstance(last, WEIGHT_LAYERS):
            last.weight.zero_()
            _without_bias(last)

    def __str__(self) -> str:
        return "Fixup's initial weights: residual branches start at 0"


def _without_bias(layer: nn.Module) -> None:
    bias = getattr(layer, "bias", None)
    if bias is not None:
        bias.zero_()


def branches(model: nn.Module) -> list[list[str]]:
    """Of each residual branch the names of its weight layers, in order; those that end with an activation left out."""
    try:
        graph = fx.symbolic_trace(model).graph
    except Exception:  # of whatever a user's forward pass is made of
        return []
    found: list[list[str]] = []
    taken = set[str]()
    for node in graph.nodes:
        sides = [one for one in node.args if isinstance(one, fx.Node)] if _adds(node) else []
        if len(sides) != 2:
            continue
        behind = [_before(side) for side in sides]
        for side, own, other in ((sides[0], *behind), (sides[1], *reversed(behind))):
            layers = [
                str(one.target)
                for one in graph.nodes
                if one in own and one not in other and isinstance(_module(model, one), WEIGHT_LAYERS)
            ]
            goes_past = sides[1 - sides.index(side)] in own  # the other side is what the branch began with
            if goes_past and layers and not taken & set(layers) and not _ends_active(model, side):
                taken |= set(layers)
                found.append(layers)
    return found


def _adds(node: fx.Node) -> bool:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in ("call_function", "call_method") and name in ADDS


def _before(node: fx.Node) -> set[fx.Node]:
    """A node and all that it is made of."""
    seen, left = set[fx.Node](), [node]
    while left:
        one = left.pop()
        if one not in seen:
            seen.add(one)
            left += one.all_input_nodes
    return seen


def _module(model: nn.Module, node: fx.Node) -> nn.Module | None:
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _ends_active(model: nn.Module, node: fx.Node) -> bool:
    """Whether something other than norms and dropouts stands behind the last weight layer of what ends at a node."""
    for one in _back(node):
        module = _module(model, one)
        if isinstance(module, WEIGHT_LAYERS):
            return False
        if module is None or is_activation(module):
            return True
    return True


def _back(node: fx.Node) -> Iterator[fx.Node]:
    while True:
        yield node
        if len(node.all_input_nodes) != 1:
            return
        (node,) = node.all_input_nodes
