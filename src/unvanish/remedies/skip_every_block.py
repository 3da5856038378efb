"""Identity skips around every block: the gradient has a way past each of them.

    h_l = h_(l−1) + f_l(h_(l−1)),    so    ∂L/∂h_(l−1) = ∂L/∂h_l (1 + ∂f_l/∂h)

(He et al. 2016, "Identity mappings in deep residual networks", eqs. 3 to 5; Yang & Schoenholz 2017, where the
gradient shrinks or grows by a power of the depth in place of an exponential.)

Limitations: only blocks whose input and output have the same shape get one. The signal grows with depth, by half its
power per block behind He's weights: beyond some thirty blocks the branches need a norm, or a scale that starts at 0
(`ReZero`). Blocks that read the same input side by side, as the projections of an attention, are left as they are.
"""

from dataclasses import replace
from typing import ClassVar, final

from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.residual import around_each, with_paths


@final
@validated
class SkipEveryBlock(Remedy):
    """Add the input of each hidden block to its output, where the shapes are equal."""

    kind: ClassVar[str] = "skip-every-block"

    def apply(self, setup: Setup) -> Setup:
        pairs = around_each(setup.model, setup.blocks, setup.example)
        model, blocks = with_paths(setup.model, setup.blocks, pairs)
        return replace(setup, model=model, blocks=blocks)

    def __str__(self) -> str:
        return "a skip around every block"
