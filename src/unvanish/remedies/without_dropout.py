"""Dropout taken out: every unit is there at every step.

    h ← h m/(1 − p),    m ~ Bernoulli(1 − p);    here p = 0

Its noise multiplies E h² by 1/(1 − p) and leaves E h h′ of two inputs as it is, so that in every layer it drives
their correlation to a fixed point below 1: no weights are critical, and the depth that can be trained falls with p
(Schoenholz et al. 2017, section 5.1; Srivastava et al. 2014, section 4, for what it is).

Limitations: less overfitting, which dropout is there for, goes with it: keep it in the last layers, or stop early.
"""

from dataclasses import replace
from typing import Any, ClassVar, final

from torch import nn

from unvanish.core.blocks import DROPOUTS
from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.replace import replaced


@final
@validated
class WithoutDropout(Remedy):
    """Put an identity in the place of every dropout module; recurrent and attention layers get dropout 0."""

    kind: ClassVar[str] = "without-dropout"

    def apply(self, setup: Setup) -> Setup:
        modules = dict(setup.model.named_modules())
        own = [n for n, module in modules.items() if isinstance(module, DROPOUTS) and module.p > 0]
        inside = [n for n, m in modules.items() if isinstance(m, nn.RNNBase | nn.MultiheadAttention) and m.dropout > 0]
        if not own and not inside:
            raise NothingToDo("the network has no dropout module")
        model = replaced(setup.model, dict.fromkeys(own, lambda _: nn.Identity()))
        for name in inside:
            found: Any = model.get_submodule(name)  # the number of a recurrent layer, or of an attention
            found.dropout = 0.0
        return replace(setup, model=model)

    def __str__(self) -> str:
        return "no dropout"
