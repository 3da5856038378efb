"""Where a network is measured: at every hidden block's activation and weight, and at its output layer."""

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from unvanish.core.activations import is_activation
from unvanish.core.blocks import WEIGHT_LAYERS, Block, modules_in
from unvanish.core.setup import Setup
from unvanish.measure.region import EVERYWHERE, Region, live_region


@dataclass(frozen=True)
class Site:
    """One layer of a network. `activation` is `None` at the output and where a block has no such module."""

    index: int
    weight: Tensor
    layer: nn.Module
    activation: nn.Module | None
    region: Region


def find_sites(setup: Setup, network: nn.Module) -> list[Site]:
    """The sites of one stage's network; a block that is passed through or frozen has none."""
    places: tuple[Block, ...] = (*setup.blocks, (setup.output,))
    regions: dict[str, Region] = {}  # most networks have many activations of one kind
    sites = (_site(index, network, block, regions) for index, block in enumerate(places))
    return [site for site in sites if site is not None]


def _site(index: int, network: nn.Module, block: Block, regions: dict[str, Region]) -> Site | None:
    inside = [module for _, module in modules_in(network, block)]
    layers = [module for module in inside if isinstance(module, WEIGHT_LAYERS)]
    activations = [module for module in inside if is_activation(module)]
    if not layers or not layers[0].weight.requires_grad:
        return None
    if not activations:
        return Site(index, layers[0].weight, layers[0], None, EVERYWHERE)
    kind = repr(activations[-1])  # with its options, which are numbers
    if kind not in regions:
        regions[kind] = live_region(copy.deepcopy(activations[-1]).cpu())
    return Site(index, layers[0].weight, layers[0], activations[-1], regions[kind])
