"""ReZero: every block starts as the identity, and learns how much of itself to add.

    h_l = h_(l−1) + α_l f_l(h_(l−1)),    α_l = 0 at first

At the start the network is an isometry whatever f is, so that signal and gradient pass any depth unchanged
(Bachlechner et al. 2021, "ReZero is all you need", eqs. 1 and 5).

Limitations: only blocks whose input and output have the same shape. In the very first step only the α learn: the
weights of f get α times their gradient. Layers between shapes still shrink or stretch what passes them.
"""

from dataclasses import replace
from typing import ClassVar, final

from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.residual import around_each, with_gates, with_paths


@final
@validated
class ReZero(Remedy):
    """Add the input of each hidden block to α times its output, α learned from 0, where the shapes are equal."""

    kind: ClassVar[str] = "rezero"

    def apply(self, setup: Setup) -> Setup:
        pairs = around_each(setup.model, setup.blocks, setup.example)
        gated = with_gates(setup.model, [setup.blocks[b] for _, b in pairs])
        model, blocks = with_paths(gated, setup.blocks, pairs)
        return replace(setup, model=model, blocks=blocks)

    def __str__(self) -> str:
        return "a skip around every block, whose branch starts at 0 (ReZero)"
