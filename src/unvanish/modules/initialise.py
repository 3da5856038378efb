"""Drawing weights: a network's weight layers in the order in which they run, and what stands between them."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.activations import is_activation
from unvanish.core.blocks import DROPOUTS, NORMS, WEIGHT_LAYERS, Block, modules_in
from unvanish.core.errors import RecipeError
from unvanish.core.nested import call, mapped
from unvanish.core.setup import Setup
from unvanish.theory import ACTIVATIONS, Activation


@dataclass(frozen=True, eq=False)
class Site:
    """A weight layer whose weights are drawn.

    behind      the activation behind it, as theory knows it; `None` where it has none, or one that theory does not know
    normalised  whether a normalisation follows before that
    output      it is the output layer
    """

    name: str
    layer: nn.Module
    behind: Activation | None
    normalised: bool = False
    output: bool = False

    @property
    def weight(self) -> Tensor:
        return self.layer.get_parameter("weight")

    @property
    def fan_in(self) -> int:
        return self.weight[0].numel()

    @property
    def fan_out(self) -> int:
        return len(self.weight) * self.weight[0][0].numel()

    @torch.no_grad()
    def of_mean(self, x: Tensor) -> Tensor:
        """W m of each unit, m the mean of each feature or channel of its input over a batch, and over places."""
        weight = self.weight if isinstance(self.layer, nn.Linear) else self.weight.flatten(2).sum(-1)
        channel = x.dim() - 1 if isinstance(self.layer, nn.Linear) else 1
        mean = x.mean([axis for axis in range(x.dim()) if axis != channel])
        if weight.shape[1] < len(mean):  # a convolution in groups: one mean for all channels
            mean = mean.mean().expand(weight.shape[1])
        return weight @ mean

    @torch.no_grad()
    def set_bias(self, value: Tensor | float) -> None:
        """Of each unit; a layer without a bias keeps none."""
        bias = getattr(self.layer, "bias", None)
        if isinstance(bias, Tensor):
            bias.copy_(torch.as_tensor(value).expand_as(bias))


def sites_of(model: nn.Module, blocks: Sequence[Block], output: str) -> list[Site]:
    """The weight layers of the blocks and the output layer, in order."""
    found: list[Site] = []
    for block in blocks:
        inside = [module for _, module in modules_in(model, block)]
        layers = [(name, module) for name, module in modules_in(model, block) if isinstance(module, WEIGHT_LAYERS)]
        activations = [module for module in inside if is_activation(module)]
        behind = known(activations[0]) if activations else None
        normalised = any(isinstance(module, NORMS) for module in inside)
        found += [Site(name, layer, behind, normalised) for name, layer in layers]
    last = model.get_submodule(output)
    return [*found, Site(output, last, None, output=True)] if isinstance(last, WEIGHT_LAYERS) else found


def activations_of(setup: Setup) -> list[Activation | None]:
    """Of the hidden weight layers, in order."""
    return [site.behind for site in sites_of(setup.model, setup.blocks, setup.output) if not site.output]


def known(module: nn.Module) -> Activation | None:
    """An activation module as theory knows it, with its own numbers; `None` where theory does not know it."""
    make = ACTIVATIONS.get(type(module).__name__)
    if make is None:
        return None
    names = [name for name in inspect.signature(make).parameters if hasattr(module, name)]
    with suppress(TypeError):
        return make(**{name: getattr(module, name) for name in names})
    return None


@torch.no_grad()
def orthogonal_(weight: Tensor, gain: float) -> None:
    """Orthogonal rows of norm `gain`; where there are more rows than columns, orthogonal columns, and the rows' mean
    square norm is gain²: either way E z² = gain² E h² for an input without a preferred direction."""
    nn.init.orthogonal_(weight)
    rows, columns = len(weight), weight[0].numel()
    weight.mul_(gain * max(1.0, (rows / columns) ** 0.5))


def draw_as_it_runs(
    model: nn.Module,
    sites: Sequence[Site],
    example: Any,
    draw: Callable[[Site, Tensor], None],
    seen: Callable[[Site, Tensor], None] = lambda _site, _output: None,
) -> None:
    """One forward pass; `draw` is called before each layer, with its input, `seen` after it, with its output.

    So each layer is drawn by what the layers before it, drawn already, make of the example. Buffers are put back.
    `RecipeError` where the first layer's inputs are all the same.
    """
    place = next(model.parameters()).device
    hooks, done = [], set[str]()

    def before(site: Site, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not done:
            spread_of(args[0])  # inputs that are all the same tell nothing
        if site.name not in done:
            draw(site, args[0])

    def after(site: Site, _module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> None:
        if site.name not in done:
            done.add(site.name)
            seen(site, output)

    for site in sites:
        hooks += [
            site.layer.register_forward_pre_hook(partial(before, site)),
            site.layer.register_forward_hook(partial(after, site)),
        ]
    try:
        with _undisturbed(model), torch.no_grad():
            call(model, mapped(lambda one: one.to(place).clone(), example))
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Normalisations take the batch's own statistics, as in the first step; dropouts are off; buffers are put back."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    for module, _ in modes:
        module.training = not isinstance(module, DROPOUTS)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, value in buffers:
            buffer.copy_(value)


def spread_of(x: Tensor) -> tuple[Tensor, float]:
    """The mean of each feature over a batch, and the RMS of what differs from it. `RecipeError` where nothing does."""
    mean = x.mean(0)
    spread = float((x - mean).square().mean().sqrt())
    if not spread > 0:
        raise RecipeError(
            "these weights are drawn by the data, and the example's inputs are all the same: give a batch of real "
            "inputs, Setup.of(model, x), or recipe.setup(x) for a recipe"
        )
    return mean, spread
