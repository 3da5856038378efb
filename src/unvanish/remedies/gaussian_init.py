"""Gaussian initial weights of given variances, in the units of mean-field theory.

    W ~ N(0, σ_w²/fan_in),    b ~ N(0, σ_b²)

The two numbers decide the phase of a deep network of one activation: ordered, where gradients vanish, or chaotic,
where they explode, and between them the critical line, on which they are kept (Poole et al. 2016, eq. 1; Schoenholz
et al. 2017, section 2). `unvanish theory --activation tanh` says where that line is.

Limitations: it sets the variances and does not look for the critical ones: `CriticalInit` does. Theory is exact
at infinite width; a network of 100 units a layer scatters around it.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import nn

from unvanish.core.blocks import Block
from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import InitRemedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.initialise import sites_of


@final
@validated
class GaussianInit(InitRemedy):
    """Draw every weight from N(0, `weight_var`/fan_in) and every bias from N(0, `bias_var`)."""

    kind: ClassVar[str] = "gaussian-init"

    weight_var: Annotated[float, Field(gt=0, le=1e12)] = 1.0  # σ_w²; 1 is critical for tanh at σ_b = 0
    bias_var: Annotated[float, Field(ge=0, le=1e12)] = 0.0  # σ_b²

    def refuse(self, setup: Setup) -> None:
        if not sites_of(setup.model, setup.blocks, setup.output):
            raise NothingToDo("no layer has weights that it could draw")

    @torch.no_grad()
    def draw(self, model: nn.Module, blocks: Sequence[Block], output: str, example: Any) -> None:
        for site in sites_of(model, blocks, output):
            site.weight.normal_(0, math.sqrt(self.weight_var / site.fan_in))
            bias = getattr(site.layer, "bias", None)
            if isinstance(bias, torch.Tensor):
                bias.normal_(0, math.sqrt(self.bias_var))

    def __str__(self) -> str:
        return f"Gaussian weights, σ_w² {self.weight_var:g}, σ_b² {self.bias_var:g}"
