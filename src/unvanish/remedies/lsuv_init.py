"""LSUV, layer-sequential unit variance: orthogonal weights, each layer scaled until its output has variance 1.

    W_l ← W_l / std(z_l),    z_l of a batch of data, input side first

What no formula knows of a network, its skips, its norms, its activations, is in the measurement (Mishkin & Matas
2016, "All you need is a good init", algorithm 1).

Limitations: it keeps the forward signal only. The variance is taken over units and inputs together, so that a
sigmoid's common mean counts as signal: what differs between inputs, and the gradient, vanish all the same.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from unvanish.core.blocks import Block
from unvanish.core.remedy import InitRemedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.initialise import Site, draw_as_it_runs, orthogonal_, sites_of


@final
@validated
class LSUVInit(InitRemedy):
    """Draw orthogonal weights, every bias 0, each layer's divided by the std of its output on the example."""

    kind: ClassVar[str] = "lsuv-init"

    std: Annotated[float, Field(gt=0)] = 1.0

    def refuse(self, setup: Setup) -> None:
        pass  # any weight layer can be drawn so

    def draw(self, model: nn.Module, blocks: Sequence[Block], output: str, example: Any) -> None:
        draw_as_it_runs(model, sites_of(model, blocks, output), example, self._draw)

    @torch.no_grad()
    def _draw(self, site: Site, x: Tensor) -> None:
        orthogonal_(site.weight, 1.0)
        site.set_bias(0.0)
        z = type(site.layer).forward(site.layer, x)  # not its hooks
        site.weight.mul_(self.std / float(z.std()))

    def __str__(self) -> str:
        return "LSUV: orthogonal, each layer scaled to unit variance on a batch"
