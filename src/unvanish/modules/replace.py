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
    places = _Places(model)
    for name, change in changes.items():
        old = model.get_submodule(name)
        new = change(old)
        if old is model:
            return new
        places.put(new, old)
    return model


class _Places:
    """Where each module is registered, looked for once: a deep network has thousands of them."""

    def __init__(self, model: nn.Module) -> None:
        self._of: dict[nn.Module, list[tuple[nn.Module, str]]] = {}
        self._seen: set[nn.Module] = set()
        self._look_into(model)

    def _look_into(self, root: nn.Module) -> None:
        for parent in root.modules():
            if parent not in self._seen:
                self._seen.add(parent)
                for key, child in parent._modules.items():
                    if child is not None:
                        self._of.setdefault(child, []).append((parent, key))

    def put(self, new: nn.Module, old: nn.Module) -> None:
        """In all places of the old one, which may have become a part of the new one."""
        places = self._of.pop(old)
        for parent, key in places:
            setattr(parent, key, new)
        self._look_into(new)
        self._of.setdefault(new, []).extend(places)
