"""Weight normalisation: the length of each unit's weights is a parameter of its own.

    w = g v/‖v‖,    ∂L/∂v = g/‖v‖ (∂L/∂w − (w·∂L/∂w) w/‖w‖²)

The gradient by v is divided by its length and stands at a right angle to it, so a large step makes v longer and the
next one smaller (Salimans & Kingma 2016, eqs. 2 to 4).

Limitations: it does not change what the network computes at the start, so a signal that vanishes there still does;
it steadies the steps only. Initial weights that are drawn afterwards are drawn through it.
"""

from dataclasses import replace
from typing import ClassVar, final

from torch import nn
from torch.nn.utils import parametrizations, parametrize

from unvanish.core.blocks import WEIGHT_LAYERS, modules_in
from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.replace import replaced


@final
@validated
class WeightNorm(Remedy):
    """Give every hidden weight layer weights of the form g v/‖v‖, of the values that it has."""

    kind: ClassVar[str] = "weight-norm"

    def apply(self, setup: Setup) -> Setup:
        found = [
            name
            for block in setup.blocks
            for name, module in modules_in(setup.model, block)
            if isinstance(module, WEIGHT_LAYERS) and not parametrize.is_parametrized(module)
        ]
        if not found:
            raise NothingToDo("the weights of every hidden layer are parametrised already")
        return replace(setup, model=replaced(setup.model, dict.fromkeys(found, _normed)))

    def __str__(self) -> str:
        return "weight norm in every hidden layer"


def _normed(layer: nn.Module) -> nn.Module:
    return parametrizations.weight_norm(layer)
