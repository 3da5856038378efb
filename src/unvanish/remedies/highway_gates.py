"""Highway gates: a learned gate decides, unit by unit, how much of a block's input goes past it.

    h_l = t ⊙ f_l(h_(l−1)) + (1 − t) ⊙ h_(l−1),    t = s(W_t h_(l−1) + b_t),    s the logistic function

With b_t = −2 a gate starts 12 % open, so ∂h_l/∂h_(l−1) ≈ 0.88 whatever f_l is, and the gradient passes tens of layers
(Srivastava, Greff & Schmidhuber 2015, "Highway networks", eqs. 3 and 4; the negative bias, section 2.2).

Limitations: twice the weights, since each gate has a matrix of its own. The gradient still shrinks, by 0.88 a layer at
first: beyond some fifty layers `bias` has to be lower. Only blocks whose input and output have the same shape.
"""

from dataclasses import replace
from typing import Any, ClassVar, final

import torch
from torch import nn

from unvanish.core.blocks import WEIGHT_LAYERS, Block, modules_in
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.replace import replaced
from unvanish.modules.residual import around_each
from unvanish.modules.wiring import Mix, Put, Then, Wire


@final
@validated
class HighwayGates(Remedy):
    """Mix the output of each hidden block with its input by a learned gate, where the shapes are equal.

    bias   of the gates at first; the lower, the more of the input goes past
    """

    kind: ClassVar[str] = "highway-gates"

    bias: float = -2.0

    def apply(self, setup: Setup) -> Setup:
        model = setup.model
        for a, b in around_each(model, setup.blocks, setup.example):
            wire, gate = Wire(), self._gate(model, setup.blocks[b])
            changes = {
                setup.blocks[a][-1]: lambda block, wire=wire: Then(block, Put(wire)),
                setup.blocks[b][-1]: lambda block, wire=wire, gate=gate: Then(block, Mix(wire, gate)),
            }
            model = replaced(model, changes)  # at once: a copy's wire is another
        return replace(setup, model=model)

    @torch.no_grad()
    def _gate(self, model: nn.Module, block: Block) -> nn.Module:
        """As wide as the block. Its weights are 0, so that it is the same for all inputs at first; a convolution's
        looks at one place at a time."""
        layer: Any = next(module for _, module in modules_in(model, block) if isinstance(module, WEIGHT_LAYERS))
        place = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        with torch.random.fork_rng(devices=[]):  # a remedy draws no random numbers
            if isinstance(layer, nn.Linear):
                gate: Any = nn.Linear(layer.out_features, layer.out_features, **place)
            else:
                gate = type(layer)(layer.out_channels, layer.out_channels, 1, **place)
        gate.weight.zero_()
        gate.bias.fill_(self.bias)
        return gate

    def __str__(self) -> str:
        return f"a highway gate around every block, b = {self.bias:g}"
