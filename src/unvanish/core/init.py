"""Drawing the weights, in the order of the published random stream.

A group's layers are constructed (each drawing its own default), then initialised, then the next
group's. So the numbers come from torch's global CPU stream in the same order as in a script that
builds its layers and then draws their weights.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from unvanish.core.setup import Setup
from unvanish.core.structure import WEIGHT_LAYERS, modules_in


def initialised(setup: Setup) -> Setup:
    """The setup with its weights drawn anew, as its init policy says. The model given is left as it is."""
    if setup.init is None:
        return setup
    model = copy.deepcopy(setup.model)
    for group in _groups(model, setup):
        for module in group:
            construct = getattr(module, "reset_parameters", None)  # a convention of torch.nn, not a type
            if construct is not None:
                construct()
        if setup.init.std is not None:
            for module in group:
                _draw(module, setup.init.std)
    return replace(setup, model=model)


@torch.no_grad()
def _draw(module: nn.Module, std: float) -> None:
    if isinstance(module, WEIGHT_LAYERS):
        module.weight.normal_(0, std)
        if module.bias is not None:
            module.bias.zero_()


def _groups(model: nn.Module, setup: Setup) -> Iterator[list[nn.Module]]:
    assert setup.init is not None
    if setup.init.groups is None:
        yield list(model.modules())
        return
    start = 0
    for size in setup.init.groups:
        blocks = setup.blocks[start : start + size]
        yield [module for block in blocks for _, module in modules_in(model, block)]
        start += size
