"""Of an output or a target of any nesting, the tensor that matters; and which module made which node."""
# B batch

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from unvanish.measure.graph.layers import tensors_in
from unvanish.measure.graph.operations import LEAF, VIEWS, WEIGHT_OPS, Node, base, is_opaque
from unvanish.train.batches import LABELS, Batch

NAMED = ("logits", "output", "prediction", "reconstruction")  # of an output's parts, that which is compared


def main_output(output: Any, size: int) -> Tensor | None:
    """The tensor of an output that is compared with the targets: a named one, or the first with the batch in front."""
    for name in NAMED:
        found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    floating = [one for one in tensors_in(output) if one.is_floating_point() and one.dim()]
    return next((one for one in floating if len(one) == size), floating[0] if floating else None)


def main_target(batch: Batch) -> Tensor | None:
    """The first tensor of the target; of a dict alone, that under one of `LABELS`."""
    where = batch.target
    if where is None and isinstance(batch.input, Mapping):
        where = next((batch.input[name] for name in LABELS if name in batch.input), None)
    return next((one for one in tensors_in(where) if one.numel()), None)


@contextmanager
def makers(model: nn.Module) -> Iterator[dict[Node, str]]:
    """Within it, which module without children made which node last."""
    made: dict[Node, str] = {}

    def note(name: str, output: Any) -> None:
        made.update({one.grad_fn: name for one in tensors_in(output) if one.grad_fn is not None})

    hooks = [
        module.register_forward_hook(lambda _module, _arguments, output, name=name: note(name, output))
        for name, module in model.named_modules()
        if name and not any(True for _ in module.children())
    ]
    try:
        yield made
    finally:
        for hook in hooks:
            hook.remove()


def below(node: Node) -> Node | None:
    """The next node towards the input that does more than view, along the first edge that is differentiated."""
    found: Node | None = node
    while found is not None:
        found = next((before for before, _ in found.next_functions if before is not None), None)
        if found is None or base(found) not in VIEWS:
            return found
    return None


def made_by(output: Tensor) -> Node | None:
    """The node that made a tensor, views aside."""
    node = output.grad_fn
    return below(node) if node is not None and base(node) in VIEWS else node


def up_to_weights(start: Node) -> list[Node]:
    """The nodes between a loss and the last weights, the loss in front; those with weights are left out."""
    found, waiting = [start], [start]
    seen = {start}
    while waiting:
        for before, _ in waiting.pop(0).next_functions:
            if before is None or before in seen:
                continue
            seen.add(before)
            if before.name() != LEAF and base(before) not in WEIGHT_OPS and not is_opaque(before.name()):
                found.append(before)
                waiting.append(before)
    return found


def leaves(start: Node | None) -> list[Tensor]:
    """The tensors that want a gradient and from which this was computed."""
    found: list[Tensor] = []
    waiting, seen = [] if start is None else [start], set[Node]()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.name() == LEAF:
            found.append(node.variable)  # pyright: ignore[reportAttributeAccessIssue]
        waiting += [before for before, _ in node.next_functions if before is not None]
    return found
