"""The elementwise activations of `torch.nn`, by name."""

import inspect
from typing import Any

from torch import nn
from torch.nn.modules import activation as torch_activations

from unvanish.core.errors import RecipeError, did_you_mean

# Not elementwise: their output mixes features, or halves them, or they are a whole layer.
MIXING = ("MultiheadAttention", "Softmax", "Softmax2d", "LogSoftmax", "Softmin", "GLU")

ELEMENTWISE: dict[str, type[nn.Module]] = {
    name: getattr(torch_activations, name) for name in torch_activations.__all__ if name not in MIXING
}


def activation_name(name: str) -> str:
    """The spelling of `torch.nn` for an activation named in any case.

    >>> activation_name("relu")
    'ReLU'
    """
    for known in ELEMENTWISE:
        if known.lower() == name.lower():
            return known
    if name.lower() in map(str.lower, MIXING):
        raise RecipeError(f"activation '{name}' is not elementwise, so it cannot stand after a hidden layer")
    raise RecipeError(f"activation '{name}' is not one of torch.nn's{did_you_mean(name, ELEMENTWISE)}")


def make_activation(name: str, options: dict[str, Any] | None = None) -> nn.Module:
    """A new activation module; `options` are its own keyword arguments."""
    kind = ELEMENTWISE[activation_name(name)]
    options = options or {}
    try:
        if options:  # without any there is no name to be checked, which takes its time
            inspect.signature(kind).bind(**options)
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"activation {kind.__name__} cannot be made with {options or 'no options'}: {error}"
        ) from error


def is_activation(module: nn.Module) -> bool:
    return isinstance(module, tuple(ELEMENTWISE.values()))
