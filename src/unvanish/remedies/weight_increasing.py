"""Weight increasing: draw larger weights, so that each layer passes on more of the signal.

    E[z²] = fan_in · σ² · E[h²],    E[(dL/dh)²] = fan_out · σ² · E[φ′(z)²] · E[(dL/dh_next)²]

Both the signal and its gradient shrink by a constant factor per layer when σ is small: 128 sigmoid
units with σ = 0.05 keep √128 · 0.05 · φ′ ≈ 0.57 · 0.25 ≈ 1/7 of the gradient, so the first of seven
layers gets about 1/120,000 of what the last one gets. With σ = 1 the factor comes near 1 (Glorot & Bengio 2010, eqs.
5 and 6; Schoenholz et al. 2017, eq. 13: the gradient's factor per layer is χ₁ = σ_w² E[φ′(z)²], here with σ_w² = fan_in
· σ²).

Limitations: with an activation that does not saturate the same weights explode, as ReLU at
σ = 1 multiplies the signal by √(128/2) = 8 per layer; and with σ = 10 a sigmoid is saturated,
so most units pass no gradient at all and training is noise.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, final

from pydantic import Field

from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Init, Setup
from unvanish.core.values import validated


@final
@validated
class WeightIncreasing(Remedy):
    """Draw every weight of a linear or convolution layer from N(0, `std`²), every bias 0."""

    kind: ClassVar[str] = "weight-increasing"
    replaces: ClassVar[str] = "init"

    std: Annotated[float, Field(gt=0)] = 1.0  # method 1a; 1b has 10

    def apply(self, setup: Setup) -> Setup:
        init = setup.init or Init(std=None)
        if init.std == self.std and init.policy is None:
            raise NothingToDo(f"the weights are drawn from N(0, {self.std:g}²) already")
        return replace(setup, init=replace(init, std=self.std, policy=None, anew=True))

    def __str__(self) -> str:
        return f"weights from N(0, {self.std:g}²)"
