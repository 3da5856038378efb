"""What a network is made of: its weight layers, its activations, its blocks in the order in which they run."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.activations import is_activation
from unvanish.core.errors import UnvanishError
from unvanish.core.nested import call, mapped

Block = tuple[str, ...]  # dotted module names; the last one's output is the block's output

WEIGHT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
DROPOUTS = (nn.modules.dropout._DropoutNd,)


def find_blocks(model: nn.Module, example: Any) -> tuple[tuple[Block, ...], str]:
    """The hidden blocks of any network, and its output layer, found by running `example` once.

    A block is a weight layer with the normalisations, activations and dropouts that run after it,
    up to the next weight layer. The last weight layer is the output. A module that runs more than
    once in a forward pass belongs to no block: changing it would change several places.
    """
    order = forward_order(model, example)
    once = [name for name in order if order.count(name) == 1]
    modules = dict(model.named_modules())
    groups: list[list[str]] = []
    for name in once:
        module = modules[name]
        if isinstance(module, WEIGHT_LAYERS):
            groups.append([name])
        elif groups and (is_activation(module) or isinstance(module, NORMS + DROPOUTS)):
            groups[-1].append(name)
    if len(groups) < 2:
        raise UnvanishError(
            f"{type(model).__name__} has {len(groups)} Linear or convolution layers that run once in a forward "
            "pass; at least a hidden one and an output are needed"
        )
    return tuple(tuple(group) for group in groups[:-1]), groups[-1][0]


def forward_order(model: nn.Module, example: Any) -> list[str]:
    """The dotted names of the leaf modules in the order in which a forward pass calls them."""
    model = copy.deepcopy(model)
    called: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, WEIGHT_LAYERS) or not any(True for _ in module.children()):
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    quiet_forward(model, example)
    return called


def output_shapes(model: nn.Module, names: list[str], example: Any) -> list[tuple[int, ...]]:
    """The shape of one sample (without the batch dimension) that each named module gives."""
    model = copy.deepcopy(model)
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:

        def note(_module: nn.Module, _args: tuple, out: Tensor, name: str = name) -> None:
            shapes[name] = tuple(out.shape[1:])

        model.get_submodule(name).register_forward_hook(note)
    quiet_forward(model, example)
    return [shapes[name] for name in names]


def quiet_forward(model: nn.Module, example: Any) -> None:
    """A forward pass that moves no statistics and draws no random numbers (dropout is off), on a copy of `example`."""
    model.eval()
    with torch.enable_grad():  # it may differentiate by its input
        try:
            call(model, mapped(torch.clone, example))  # a model may work on it in place
        except Exception as error:  # of whatever a user's model is made of
            raise UnvanishError(
                f"{type(model).__name__} cannot be run on the example{_of_shape(example)}: "
                f"{type(error).__name__}: {error}"
            ) from error


def _of_shape(example: Any) -> str:
    return f", of shape {tuple(example.shape)}" if isinstance(example, Tensor) else ""


def modules_in(model: nn.Module, block: Block) -> Iterator[tuple[str, nn.Module]]:
    """Every module of a block with its dotted name in the model, containers and leaves."""
    for name in block:
        yield from model.get_submodule(name).named_modules(prefix=name)
