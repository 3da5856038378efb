"""The inputs of activation modules, which autograd does not keep for a sigmoid, a tanh or a ReLU.

Hooks on modules for one forward pass: for copies that are ours. A user's model is measured without.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from unvanish.core.activations import is_activation
from unvanish.measure.graph.operations import Node


@contextmanager
def activation_inputs(network: nn.Module) -> Iterator[dict[Node, Tensor]]:
    """Within it, what every activation module gets, by the node that it makes."""
    inputs: dict[Node, Tensor] = {}
    waiting: dict[nn.Module, Tensor] = {}

    def before(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        z = arguments[0].detach()
        waiting[module] = z.clone() if getattr(module, "inplace", False) else z

    def after(module: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> None:
        if output.grad_fn is not None and module in waiting:
            inputs[output.grad_fn] = waiting.pop(module)

    hooks = []
    for module in network.modules():
        if is_activation(getattr(module, "represents", module)):
            hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()
