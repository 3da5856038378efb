"""Xavier initialisation: a compromise between keeping the activations and keeping the gradient.

    Var W = gain² · 2/(fan_in + fan_out),    b = 0

fan_in · Var W = 1 keeps the variance forward, fan_out · Var W = 1 backward, where the activation is linear around 0
with slope 1 (Glorot & Bengio 2010, eqs. 10 to 12 and 16, there as a uniform distribution of this variance).

Limitations: it knows nothing of the activation's own slope: a sigmoid's is 1/4, so the gradient still shrinks by 4 a
layer, and of ReLU half is lost, so it shrinks by √2. Behind tanh the signal decays as 1/√depth even so.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import nn

from unvanish.core.blocks import Block
from unvanish.core.remedy import InitRemedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.initialise import sites_of


@final
@validated
class XavierInit(InitRemedy):
    """Draw the weights of every layer from N(0, gain² · 2/(fan_in + fan_out)), every bias 0."""

    kind: ClassVar[str] = "xavier-init"

    gain: Annotated[float, Field(gt=0)] = 1.0

    def refuse(self, setup: Setup) -> None:
        pass  # any weight layer can be drawn so

    @torch.no_grad()
    def draw(self, model: nn.Module, blocks: Sequence[Block], output: str, example: Any) -> None:
        for site in sites_of(model, blocks, output):
            site.weight.normal_(0, self.gain * (2 / (site.fan_in + site.fan_out)) ** 0.5)
            site.set_bias(0.0)

    def __str__(self) -> str:
        return f"Xavier initial weights, gain {self.gain:g}"
