"""Critical initialisation: the variance of the weights at which the backward signal is kept, for any activation.

    σ_w² E φ′(√q z)² = 1,    Var W = σ_w²/fan_in,    b = 0

at each layer's own q, the mean square of its pre-activations on a batch (Schoenholz et al. 2017, eq. 5, χ = 1; Poole
et al. 2016). For ReLU it is He's, whatever q; for tanh σ_w is 1 at q = 0, and a little more at the q that it has.

Limitations: it keeps the gradient, and so not the length: q falls from layer to layer for activations that saturate.
An activation whose value at 0 is not 0, such as the sigmoid, drives itself into saturation by what all inputs share:
use `CentredCriticalInit`. What is kept is a mean square: Gaussian weights scatter, with depth/width.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from unvanish.core.blocks import Block
from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import InitRemedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.initialise import Site, activations_of, draw_as_it_runs, sites_of
from unvanish.theory import Activation
from unvanish.theory.gaussian import moments

UPMOST = 1e3  # σ_w: of an activation that is flat where its pre-activations lie


@final
@validated
class CriticalInit(InitRemedy):
    """Draw Gaussian weights that keep the backward signal at each layer, as measured on the setup's example."""

    kind: ClassVar[str] = "critical-init"

    def refuse(self, setup: Setup) -> None:
        if not any(activations_of(setup)):
            raise NothingToDo("no hidden block has an activation module that theory knows")

    def draw(self, model: nn.Module, blocks: Sequence[Block], output: str, example: Any) -> None:
        before: list[Activation | None] = [None]
        lengths = [0.0]

        @torch.no_grad()
        def drawn(site: Site, x: Tensor) -> None:
            phi, q = before[-1], lengths[-1]
            slope = moments(phi, q)[2] if phi is not None else float(x.square().mean())
            std = min(UPMOST, 1 / math.sqrt(slope)) if slope > 0 else UPMOST
            site.weight.normal_(0, (1.0 if site.output else std) / math.sqrt(site.fan_in))
            site.set_bias(0.0)

        def seen(site: Site, z: Tensor) -> None:
            before.append(site.behind)
            lengths.append(1.0 if site.normalised else float(z.square().mean()))

        draw_as_it_runs(model, sites_of(model, blocks, output), example, drawn, seen)

    def __str__(self) -> str:
        return "critical initial weights, χ = 1 at each layer"
