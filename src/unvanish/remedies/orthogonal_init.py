"""Orthogonal initialisation: each layer turns its input, and stretches no direction more than another.

    W Wᵀ = gain² 1,    b = 0

A product of Gaussian matrices has singular values that spread over many orders of magnitude as it gets longer, even
where their mean is kept; one of orthogonal matrices has them all alike (Saxe et al. 2014, section 4; Pennington et
al. 2017, section 2.4: with tanh near its linear range the whole Jacobian stays close to an isometry).

Limitations: the isometry is lost behind ReLU, which is singular itself (Pennington et al. 2017, section 2.4.1). With
gain 1 the sigmoid's slope of 1/4 still shrinks the gradient; it needs gain 4 and a bias (`CentredCriticalInit`).
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, final

from pydantic import Field
from torch import nn

from unvanish.core.blocks import Block
from unvanish.core.remedy import InitRemedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.initialise import orthogonal_, sites_of


@final
@validated
class OrthogonalInit(InitRemedy):
    """Draw an orthogonal matrix times `gain` for every layer, every bias 0; convolutions by their flattened kernels."""

    kind: ClassVar[str] = "orthogonal-init"

    gain: Annotated[float, Field(gt=0)] = 1.0

    def refuse(self, setup: Setup) -> None:
        pass  # any weight layer can be drawn so

    def draw(self, model: nn.Module, blocks: Sequence[Block], output: str, example: Any) -> None:
        for site in sites_of(model, blocks, output):
            orthogonal_(site.weight, self.gain)
            site.set_bias(0.0)

    def __str__(self) -> str:
        return f"orthogonal initial weights, gain {self.gain:g}"
