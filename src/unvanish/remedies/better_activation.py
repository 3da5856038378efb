"""A better activation: one whose slope does not shrink the gradient.

    dL/dz = dL/dh · φ′(z),    sigmoid: φ′ ≤ 1/4,    ReLU: φ′ = 1 wherever the unit is active

The sigmoid removes at least three quarters of the gradient at every layer; ReLU passes all of it through an
active unit (Glorot, Bordes & Bengio 2011). The weights must fit it: He et al. 2015, eq. 10, ask for
σ² = 2/fan_in, so that what the inactive half loses is made up for.

Limitations: with small weights ReLU still vanishes: at σ = 0.05 and width 128 a layer keeps
√(128 · 0.05²/2) = 0.40 of the signal, so the first epochs are a plateau. With large ones it
explodes, and after too large a step units die: they output 0 for every input and get no gradient.
"""

from dataclasses import replace
from typing import Any, ClassVar, final

from pydantic import Field

from unvanish.core.activations import activation_name, is_activation, make_activation
from unvanish.core.blocks import modules_in
from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import Options, validated
from unvanish.modules.replace import replaced


@final
@validated
class BetterActivation(Remedy):
    """Put another activation of `torch.nn` into every hidden block; `options` are its keyword arguments."""

    kind: ClassVar[str] = "better-activation"
    replaces: ClassVar[str] = "activation"

    activation: str = "ReLU"
    options: Options = Field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", activation_name(self.activation))
        make_activation(self.activation, self.options)

    def apply(self, setup: Setup) -> Setup:
        new = make_activation(self.activation, self.options)
        found = {
            name: module
            for block in setup.blocks
            for name, module in modules_in(setup.model, block)
            if is_activation(module)
        }
        if not found:
            raise NothingToDo("no hidden block has an activation module to replace")
        other = [name for name, module in found.items() if repr(module) != repr(new)]
        if not other:
            raise NothingToDo(f"the activation is {new} everywhere already")
        return replace(setup, model=replaced(setup.model, {name: self._make for name in other}))

    def _make(self, _old: object) -> Any:
        return make_activation(self.activation, self.options)

    def __str__(self) -> str:
        return f"{self.activation} after each hidden layer"
