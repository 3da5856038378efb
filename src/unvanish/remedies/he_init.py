"""He's initialisation: what the inactive half of the ReLUs loses is made up for.

    Var W = 2/((1 + a²) fan_in),    b = 0,    a the slope below 0

Then σ_w² E φ′² = 1 at every length, so the activations and the backward signal both keep theirs (He et al. 2015,
eqs. 10, 14 and 15).

Limitations: it is made for ReLU and its kind, whose slope is constant on each side of 0. Narrow and deep networks
lose the signal by chance all the same, since the scatter of the layers adds up over depth/width (Hanin & Rolnick
2018): 40 layers of width 16 seldom start well. It does not keep the angle between inputs, which closes as 1/depth².
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, final

import torch
from torch import nn

from unvanish.core.blocks import Block
from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import InitRemedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.initialise import activations_of, sites_of
from unvanish.theory import Activation
from unvanish.theory.gaussian import moments


@final
@validated
class HeInit(InitRemedy):
    """Draw the weights of each layer in front of a ReLU, or one of its kind, from N(0, 2/((1 + a²) fan_in))."""

    kind: ClassVar[str] = "he-init"

    def refuse(self, setup: Setup) -> None:
        if not any(map(_rectifies, activations_of(setup))):
            raise NothingToDo(
                "He's initialisation is for ReLU and its kind, and no hidden block has such a module (one that "
                "forward calls as a function is not seen)"
            )

    @torch.no_grad()
    def draw(self, model: nn.Module, blocks: Sequence[Block], output: str, example: Any) -> None:
        for site in sites_of(model, blocks, output):
            slope = moments(site.behind, 1.0)[2] if site.behind and _rectifies(site.behind) else 1.0
            site.weight.normal_(0, math.sqrt(1 / (slope * site.fan_in)))
            site.set_bias(0.0)

    def __str__(self) -> str:
        return "He's initial weights, N(0, 2/fan_in)"


def _rectifies(phi: Activation | None) -> bool:
    """ReLU and its kind, GELU and SiLU among them: half of the slope at 0, and all of it above."""
    return phi is not None and (phi.kink_at_zero or phi.name in ("GELU", "SiLU", "Mish"))
