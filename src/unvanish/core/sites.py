"""Where a network is measured: at every hidden block's activation and weight, and at its output layer."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unvanish.core.activations import is_activation
from unvanish.core.region import EVERYWHERE, Region
from unvanish.core.setup import Setup
from unvanish.core.structure import WEIGHT_LAYERS, Block, modules_in

# "Flat" is a slope under a twentieth of the steepest: a sigmoid beyond ±4.36, a tanh beyond ±2.18.
FLAT = 0.05


@dataclass(frozen=True)
class Site:
    """One layer of a network. `activation` is `None` at the output and where a block has no such module."""

    index: int
    weight: Tensor
    layer: nn.Module
    activation: nn.Module | None
    region: Region


def layer_names(setup: Setup) -> tuple[str, ...]:
    """The names of all sites of a setup: its blocks (by their first module) and its output layer."""
    return (*(block[0] for block in setup.blocks), setup.output)


def find_sites(setup: Setup, network: nn.Module) -> list[Site]:
    """The sites of one stage's network; a block that is passed through or frozen has none."""
    places: tuple[Block, ...] = (*setup.blocks, (setup.output,))
    sites = (_site(index, network, block) for index, block in enumerate(places))
    return [site for site in sites if site is not None]


def _site(index: int, network: nn.Module, block: Block) -> Site | None:
    inside = [module for _, module in modules_in(network, block)]
    layers = [module for module in inside if isinstance(module, WEIGHT_LAYERS)]
    activations = [module for module in inside if is_activation(module)]
    if not layers or not layers[0].weight.requires_grad:
        return None
    activation = activations[-1] if activations else None
    region = live_region(activation) if activation else EVERYWHERE
    return Site(index, layers[0].weight, layers[0], activation, region)


def live_region(activation: nn.Module) -> Region:
    """Where the activation's slope is at least a twentieth of its steepest, from autograd on a grid.

    >>> live_region(nn.ReLU())
    Region(low=0.0, high=inf)
    """
    module = copy.deepcopy(activation).cpu()
    z = torch.arange(-20_000, 20_001).div(1000).requires_grad_()  # 0.001 apart, 0 exactly among them
    with torch.random.fork_rng(devices=[]), torch.enable_grad():  # RReLU draws its slope
        (slope,) = torch.autograd.grad(module(z * 1).sum(), z)  # an in-place one may not change a leaf
    alive = torch.nonzero(slope.abs() >= FLAT * slope.abs().max()).flatten()
    grid, first, last = z.detach(), int(alive[0]), int(alive[-1])
    return Region(
        low=grid[first - 1].item() if first > 0 else float("-inf"),
        high=grid[last + 1].item() if last < len(grid) - 1 else float("inf"),
    )
