"""Whether an operation of the loss has broadcast the output against the target, (N,) against (N, 1) into (N, N).

Two questions: is there such an operation in the graph, of what nobody had unsqueezed; and does the gradient at output k
change when target j is another?
"""
# N samples

import warnings
from typing import Any

import torch
from torch import Tensor

from unvanish.core.nested import mapped
from unvanish.core.setup import Loss
from unvanish.diagnosis.evidence.parts import up_to_weights
from unvanish.measure.graph.layers import tensors_in
from unvanish.measure.graph.operations import LEAF, Node, base
from unvanish.train.batches import Batch

Shapes = tuple[tuple[int, ...], tuple[int, ...]]  # of the output, and of what the loss made of it


def broadcast_of(loss_value: Tensor, output: Any, batch: Batch, loss: Loss) -> Shapes | None:
    """The shapes of the output and of what the loss made of it, where (N,) met (N, 1) and targets cross samples.

    Or the output (N, N) met the target (N,): torch itself warns of it.
    """
    size = batch.size
    if size < 2 or loss_value.grad_fn is None:
        return None
    shapes = next((found for node in up_to_weights(loss_value.grad_fn) if (found := _crossed(node, size))), None)
    shapes = shapes or _warned_of(output, batch, loss)
    return shapes if shapes is not None and _crosses(output, batch, loss) else None


def _warned_of(output: Any, batch: Batch, loss: Loss) -> Shapes | None:
    """Where torch's loss warns that target and input are of different sizes."""
    shown = next((one for one in tensors_in(output) if one.is_floating_point() and one.dim()), None)
    target = next(iter(tensors_in(batch.target)), None)
    if shown is None or target is None or shown.shape == target.shape:
        return None
    with warnings.catch_warnings(record=True) as said, torch.no_grad():
        warnings.simplefilter("always")
        loss(output, batch.target)
    if not any("Using a target size" in str(one.message) for one in said):
        return None
    return tuple(shown.shape), tuple(torch.broadcast_shapes(shown.shape, target.shape))


def _crossed(node: Node, size: int) -> Shapes | None:
    """Shapes of what an operation got and gave, where it made (N, N) of (N,) or (N, 1) that nobody had unsqueezed."""
    if base(node).startswith(("Unsqueeze", "Mm", "Bmm", "Addmm", "Cdist", "EuclideanDist", "Index", "Repeat", "Cat")):
        return None
    given = _shape(node)
    if given is None or given[:2] != (size, size):
        return None
    for before, _ in node.next_functions:
        shape = None if before is None or before.name() == LEAF else _shape(before)
        if shape in ((size,), (size, 1)) and not _was_unsqueezed(before):
            return shape, given
    return None


def _shape(node: Node) -> tuple[int, ...] | None:
    try:
        return tuple(node._input_metadata[0].shape)  # pyright: ignore[reportAttributeAccessIssue]
    except (RuntimeError, IndexError, AttributeError):
        return None


def _was_unsqueezed(node: Node | None) -> bool:
    return node is not None and base(node) in ("UnsqueezeBackward", "ExpandBackward", "SumBackward", "MeanBackward")


def _crosses(output: Any, batch: Batch, loss: Loss) -> bool:
    """Whether another target j changes the gradient at outputs other than j."""
    targets = [one for one in tensors_in(batch.target) if one.dim() and len(one) == batch.size]
    j = batch.size // 2

    def moved(one: Tensor) -> Tensor:
        if not any(one is mine for mine in targets):
            return one
        anew = one.clone()
        if one.is_floating_point():
            anew[j] = one[j] + (one.max() - one.min() + 1)
        else:  # another class that there is
            others = [k for k in range(len(one)) if not torch.equal(one[k], one[j])]
            anew[j] = one[others[0]] if others else one[j]
        return anew

    first, second = (_gradient(output, target, loss) for target in (batch.target, mapped(moved, batch.target)))
    if first is None or second is None or len(first) != batch.size:
        return False
    others = torch.arange(batch.size) != j
    return bool(((first - second).abs().reshape(len(first), -1).amax(1)[others] > 0).any())


def _gradient(output: Any, target: Any, loss: Loss) -> Tensor | None:
    """∂loss/∂output."""
    apart = mapped(lambda one: one.detach().requires_grad_() if one.is_floating_point() else one, output)
    shown = [one for one in tensors_in(apart) if one.requires_grad]
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(apart, target).sum(), shown, allow_unused=True)
    return next((one for one in gradients if one is not None), None)
