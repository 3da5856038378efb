"""Centred critical initialisation: each layer acts on what differs between inputs, and keeps its gradient.

    W orthogonal of gain g,    b = −W E φ(z),    g = 1/√E φ′(√q z)²,    q = E z², on a batch

An activation that is not 0 at 0, as the sigmoid, sends a signal through every layer that all inputs share, and it
is much larger than their differences. The bias subtracts it. What is left is a critical network of an odd activation:
for the sigmoid g is 4 at q = 0 and b = −½ W·1, a critical tanh network. The first layer is centred on the mean of the
data and scaled to their spread. We know of no publication; for odd activations it is the orthogonal critical
initialisation of Saxe et al. 2014 and Pennington et al. 2017. `unvanish.theory.centred` predicts what it keeps.

Limitations: critical at q = 0 only. At a finite length the gradient and the length cannot both be kept (Var φ ≤ q E
φ′²): with this g the gradient is, and the signal decays slowly, as 1/√depth for a sigmoid; with a larger `gain` the
signal is, and the gradient grows. ReLU and its kind have no linear range at 0: use He's. The larger the depth, the
smaller the steps that it can take: a network of 1,000 layers needs Adam, learning rate 1e-4.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from unvanish.core.blocks import Block
from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import InitRemedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.initialise import Site, activations_of, draw_as_it_runs, orthogonal_, sites_of, spread_of
from unvanish.theory import Activation
from unvanish.theory.gaussian import moments

UPMOST = 1e3  # g: of an activation that is flat where its pre-activations lie


@final
@validated
class CentredCriticalInit(InitRemedy):
    """Draw orthogonal weights and biases that take out what all inputs share; measured on the setup's example.

    gain   g of every hidden layer but the first; without it, at each layer that which keeps its gradient
    """

    kind: ClassVar[str] = "centred-critical-init"

    gain: Annotated[float, Field(gt=0)] | None = None

    def refuse(self, setup: Setup) -> None:
        found = activations_of(setup)
        if not any(found):
            raise NothingToDo("no hidden block has an activation module that theory knows")
        if all(phi is None or phi.kink_at_zero or not phi.slope_at_zero for phi in found):
            raise NothingToDo("no hidden activation has a linear range around 0; use He's initialisation (HeInit)")

    def draw(self, model: nn.Module, blocks: Sequence[Block], output: str, example: Any) -> None:
        before: list[tuple[Activation | None, float]] = []

        @torch.no_grad()
        def drawn(site: Site, x: Tensor) -> None:
            if site.output:
                site.set_bias(0.0)
                return
            gain = self._gain(*before[-1]) if before else 1 / spread_of(x)[1]
            orthogonal_(site.weight, gain)
            site.set_bias(-site.of_mean(x))

        def seen(site: Site, z: Tensor) -> None:
            before.append((site.behind, 1.0 if site.normalised else float(z.square().mean())))

        draw_as_it_runs(model, sites_of(model, blocks, output), example, drawn, seen)

    def _gain(self, phi: Activation | None, q: float) -> float:
        if self.gain is not None:
            return self.gain
        slope = moments(phi, q)[2] if phi is not None else 1.0
        return min(UPMOST, 1 / math.sqrt(slope)) if slope > 0 else UPMOST

    def __str__(self) -> str:
        return "centred critical initial weights" + (f", gain {self.gain:g}" if self.gain is not None else "")
