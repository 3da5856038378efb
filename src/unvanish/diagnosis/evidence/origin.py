"""Where the first NaN or infinity comes from: which operation of which module, of the loss or of the optimizer.

Forward, every call of torch is looked at as it is made: the first whose result is not finite though its arguments were.
Backward, every node of the graph is: the first that gives a gradient that is not finite though it got one that was.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from unvanish.core.setup import Loss
from unvanish.measure.graph.layers import tensors_in
from unvanish.measure.graph.operations import LEAF, Node, base
from unvanish.train.batches import Batch

LARGE = 1e15  # what overflows from there has grown, and was not made by one operation
FILLS = ("masked_fill", "full", "where", "fill", "empty", "new_", "tensor", "zeros", "ones", "triu", "log_softmax")
WORDS = {
    "sqrt": "the square root", "rsqrt": "the reciprocal square root", "log": "the logarithm", "log2": "the logarithm",
    "log10": "the logarithm", "log1p": "the logarithm", "div": "a division", "truediv": "a division",
    "rtruediv": "a division", "reciprocal": "a division", "pow": "a power", "norm": "a norm", "vector_norm": "a norm",
    "linalg_vector_norm": "a norm", "cdist": "a distance (cdist)", "pairwise_distance": "a distance", "exp": "exp",
    "acos": "the arc cosine", "asin": "the arc sine", "std": "a standard deviation", "var": "a variance",
    "binary_cross_entropy": "binary_cross_entropy", "atan2": "atan2", "xlogy": "x log y", "logsumexp": "logsumexp",
}  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """The first NaN or infinity.

    place      a module, a parameter, `the loss`, `the input`, `the target` or `the optimizer`
    operation  in words, where one is known
    backward   in the backward pass: its gradient is not finite
    overflow   what it was made of had grown that large already
    when       before any step, or at which
    batch      the number of the batch, from 0
    """

    place: str
    operation: str = ""
    backward: bool = False
    overflow: bool = False
    when: str = "before any step"
    batch: int = 0


def origin_of(model: nn.Module, batch: Batch, loss: Loss) -> Origin | None:
    """Look for it in one forward and one backward pass; `None` where everything is finite."""
    for place, value in (("the input", batch.input), ("the target", batch.target)):
        if not all(map(finite, tensors_in(value))):
            return Origin(place)
    for name, value in model.named_parameters():
        if not finite(value):
            return Origin(name)
    for name, value in model.named_buffers():  # a mask may have −∞
        if bool(torch.isnan(value).any()):
            return Origin(name)
    calls = _Calls(type(model).__name__)
    with torch.enable_grad(), calls.places(model), calls:
        output = batch.output_of(model)
        calls.stack[:] = ["the loss"]
        value = loss(output, batch.target)
    if not finite(value):
        return calls.found() or Origin("the loss")
    return _backward(value, calls) if value.requires_grad else None


def finite(tensor: Tensor) -> bool:
    if tensor.layout != torch.strided:  # sparse: what it holds
        tensor = tensor.detach().coalesce().values() if tensor.layout == torch.sparse_coo else tensor.values().detach()
    return not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor).all())


class _Calls(TorchFunctionMode):
    """Every call of torch: its name, where it was made, and by the number of the node that it made."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self.stack = [title]
        self.made: list[tuple[int, str, str]] = []  # number of the node, place, operation
        self.nan: Origin | None = None
        self.infinite: Origin | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [one for one in tensors_in((args, kwargs)) if one.is_floating_point()]
        before = [one.detach().clone() if _in_place(func) else one for one in tensors]
        result = func(*args, **kwargs)
        name = _name(func)
        given = [one for one in tensors_in(result) if isinstance(one, Tensor) and one.is_floating_point()]
        for one in given:
            if one.grad_fn is not None:
                self.made.append((one.grad_fn._sequence_nr(), self.stack[-1], name))
        with torch._C.DisableTorchFunction():
            self._note(name, before, given)
        return result

    def _note(self, name: str, before: Sequence[Tensor], given: Sequence[Tensor]) -> None:
        if name.startswith("__get__") or all(map(finite, given)):
            return
        arguments = [one.detach() for one in before]
        grown = any(bool((one.abs() > LARGE).any()) for one in arguments if one.layout == torch.strided)
        place = Origin(self.stack[-1], WORDS.get(name, name), overflow=grown)
        if self.nan is None and any(bool(torch.isnan(one).any()) for one in given):
            if not any(bool(torch.isnan(one).any()) for one in arguments):
                self.nan = place
        elif self.infinite is None and not name.startswith(FILLS) and all(map(finite, arguments)):
            self.infinite = place

    def found(self) -> Origin | None:
        return self.infinite or self.nan

    @contextmanager
    def places(self, model: nn.Module) -> Iterator[None]:
        hooks = []
        for name, module in model.named_modules():
            if name:
                hooks.append(module.register_forward_pre_hook(lambda *_, name=name: self.stack.append(name)))
                hooks.append(module.register_forward_hook(lambda *_: None if len(self.stack) < 2 else self._leave()))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _leave(self) -> None:
        self.stack.pop()


def _in_place(func: Any) -> bool:
    name = getattr(func, "__name__", "")
    return name.endswith("_") and not name.endswith("__")


def _name(func: Any) -> str:
    name = getattr(func, "__name__", "") or resolve_name(func) or ""
    return name.strip("_")


def _backward(value: Tensor, calls: _Calls) -> Origin | None:
    """The first node whose gradient becomes infinite or NaN."""
    found: list[Node] = []

    def watch(node: Node) -> Any:
        def look(inner: Sequence[Tensor | None], outer: Sequence[Tensor | None]) -> None:
            came_whole = all(one is None or finite(one) for one in outer)
            if not found and came_whole and not all(one is None or finite(one) for one in inner):
                found.append(node)

        return node.register_hook(look)

    waiting, seen = [value.grad_fn], set[Node | None]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() != LEAF:
            watch(node)
        waiting += [before for before, _ in node.next_functions]
    value.backward(retain_graph=False)
    if not found:
        return None
    number, name = found[0]._sequence_nr(), base(found[0]).removesuffix("Backward").lower()
    later = [one for one in calls.made if one[0] >= number]
    _, place, by = min(later, key=lambda one: one[0], default=(0, "the loss", name))
    word = WORDS.get(name, WORDS.get(by, WORDS.get(name.replace("linalg", "").strip("_"), name)))
    return Origin(place, word, backward=True)
