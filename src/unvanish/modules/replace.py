"""Replacing submodules: always in a copy, never in place."""

import copy
from collections.abc import Callable, Mapping

from torch import nn


def replaced(model: nn.Module, changes: Mapping[str, Callable[[nn.Module], nn.Module]]) -> nn.Module:
    """A copy of `model` in which each named submodule is what its function makes of it.

    A module that is registered in several places is replaced in all of them, so it stays shared.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid())
    >>> print(replaced(net, {"1": lambda old: nn.ReLU()})[1], net[1])
    ReLU() Sigmoid()
    """
    model = copy.deepcopy(model)
    for name, change in changes.items():
        old = model.get_submodule(name)
        places = [(parent, key) for parent in model.modules() for key, child in parent._modules.items() if child is old]
        new = change(old)
        if not places:  # the whole model
            return new
        for parent, key in places:
            setattr(parent, key, new)
    return model
