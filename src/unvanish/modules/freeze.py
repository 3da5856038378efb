"""The network of one stage: the blocks that it holds, the ones that are frozen, its output layer."""

import copy
from typing import Any

import torch
from torch import nn

from unvanish.core.blocks import modules_in, quiet_forward
from unvanish.core.errors import RecipeError
from unvanish.core.nested import mapped
from unvanish.core.setup import Setup, Stage
from unvanish.modules.replace import replaced
from unvanish.modules.residual import Residual


def stage_network(setup: Setup, model: nn.Module, stage: Stage) -> nn.Module:
    """A copy of `model` as this stage trains it: deeper blocks passed through, frozen ones without gradients.

    A fresh output layer draws its default weights from torch's global stream.
    """
    deeper = [name for block in setup.blocks[stage.depth :] for name in block]
    network = replaced(model, dict.fromkeys(deeper, lambda _: nn.Identity()))
    for module in network.modules():
        if isinstance(module, Residual):  # a skip into blocks that are not in this network carries nothing
            absent = {name for name, child in module.named_children() if _is_empty(child)}
            module.paths = tuple((start, end) for start, end in module.paths if end not in absent)
    if stage.fresh_output:
        network = _with_fresh_output(setup, network)
    for block in setup.blocks[: stage.frozen]:
        for _, module in modules_in(network, block):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
    return network


def set_training_mode(setup: Setup, network: nn.Module, stage: Stage) -> None:
    """Training mode, but frozen blocks in evaluation mode: a batch norm's statistics must not move either."""
    network.train()
    for block in setup.blocks[: stage.frozen]:
        for _, module in modules_in(network, block):
            module.eval()


def _is_empty(module: nn.Module) -> bool:
    return all(type(leaf) is nn.Identity for leaf in module.modules() if not any(True for _ in leaf.children()))


def _with_fresh_output(setup: Setup, network: nn.Module) -> nn.Module:
    old = network.get_submodule(setup.output)
    if not isinstance(old, nn.Linear):
        raise RecipeError(f"the output layer is a {type(old).__name__}; only a Linear can be made anew for a stage")
    try:
        width = _input_width(network, setup.output, setup.example)
    except (RuntimeError, ValueError) as error:
        raise RecipeError(f"the network does not run with its deeper blocks left out: {error}") from error
    fresh = nn.Linear(width, old.out_features, bias=old.bias is not None)
    return replaced(network, {setup.output: lambda _: fresh.to(old.weight.device, old.weight.dtype)})


def _input_width(network: nn.Module, name: str, example: Any) -> int:
    """How many features reach the named layer, whatever it takes itself."""
    seen: list[int] = []

    class Ruler(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.shape[-1])
            return x

    ruled = replaced(network, {name: lambda _: Ruler()})
    place = next(network.parameters()).device
    quiet_forward(copy.deepcopy(ruled), mapped(lambda one: one.to(place), example))
    return seen[0]
