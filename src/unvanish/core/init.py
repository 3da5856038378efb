"""How the weights are drawn, in the order of the published random stream.

A group's layers are constructed (each drawing its own default), then initialised, then the next
group's. So the numbers come from torch's global CPU stream in the same order as in a script that
builds its layers and then draws their weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unvanish.core.blocks import NORMS, WEIGHT_LAYERS, Block, modules_in


class InitPolicy(ABC):
    """A way to draw weights that looks at the network, or at its data."""

    @abstractmethod
    def draw(self, model: nn.Module, blocks: Sequence[Block], output: str, example: Any) -> None:
        """Draw weights of a model, in place, from torch's global stream. `example` is a batch of its inputs."""


@dataclass(frozen=True)
class Init:
    """How weights are drawn: each from N(0, `std`²) and every bias 0; `std=None` gives each layer its default.

    groups  counts the blocks that are constructed and then initialised together, input side first; `None` is one group
            of the whole network, its output layer included
    policy  draws afterwards what it has a rule for
    anew    without it each layer keeps the weights that it has, where the policy draws none

    A normalisation's learned scale and shift are no weights, and stay as they are.
    """

    std: float | None
    groups: tuple[int, ...] | None = None
    policy: InitPolicy | None = None
    anew: bool = True

    def draw(self, model: nn.Module, blocks: Sequence[Block], output: str, example: Any) -> None:
        """Draw the weights of a model, in place, from torch's global stream."""
        if self.anew:
            self._draw_anew(model, blocks)
        if self.policy is not None:
            self.policy.draw(model, blocks, output, example)

    def _draw_anew(self, model: nn.Module, blocks: Sequence[Block]) -> None:
        for group in self._groups(model, blocks):
            for module in group:
                construct = getattr(module, "reset_parameters", None)  # a convention of torch.nn, not a type
                if construct is not None and not isinstance(module, NORMS):
                    construct()
            if self.std is not None:
                for module in group:
                    _draw(module, self.std)

    def _groups(self, model: nn.Module, blocks: Sequence[Block]) -> Iterator[list[nn.Module]]:
        if self.groups is None:
            yield list(model.modules())
            return
        start = 0
        for size in self.groups:
            yield [module for block in blocks[start : start + size] for _, module in modules_in(model, block)]
            start += size


@torch.no_grad()
def _draw(module: nn.Module, std: float) -> None:
    if isinstance(module, WEIGHT_LAYERS):
        module.weight.normal_(0, std)
        if module.bias is not None:
            module.bias.zero_()
