"""A better optimizer: steps that do not depend on the size of the gradient.

    Δθ = −lr · m̂ / (√v̂ + ε),    m̂, v̂ running means of the gradient and of its square

Adam divides each gradient by its own running size, so a layer whose gradient is a millionth of
another's moves as fast (Kingma & Ba 2015, algorithm 1 and section 2.1). The gradient still vanishes;
what vanishes no longer matters, until it comes near ε or near rounding.

Limitations: once gradients are of the size of ε = 1e-8 the division stops helping: a deep
sigmoid network (20 layers at σ = 0.05) does not learn with Adam either. And it repairs the step, not the
signal: a unit without gradient does not move with any optimizer.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, final

from pydantic import Field

from unvanish.core.errors import NothingToDo
from unvanish.core.optimizer import Optimizer, SameOptimizer
from unvanish.core.remedy import PreparedOptimizer, Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import Options, validated


@final
@validated
class BetterOptimizer(Remedy):
    """Train with another optimizer of `torch.optim`; `options` are its other keyword arguments."""

    kind: ClassVar[str] = "better-optimizer"
    replaces: ClassVar[str] = "optimizer"

    name: str = "Adam"
    lr: Annotated[float, Field(gt=0)] = 0.001
    options: Options = Field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", Optimizer(self.name, self.lr, self.options).name)

    def apply(self, setup: Setup) -> Setup:
        optimizer = Optimizer(self.name, self.lr, self.options)
        given = setup.optimizer
        own = given.factory if isinstance(given, PreparedOptimizer) else given
        if own == optimizer or (isinstance(own, SameOptimizer) and own.same_as(optimizer)):
            raise NothingToDo(f"the optimizer is {self} already")
        kept = replace(given, factory=optimizer) if isinstance(given, PreparedOptimizer) else optimizer
        return replace(setup, optimizer=kept)

    def __str__(self) -> str:
        return f"{self.name}, {Optimizer(self.name, self.lr, self.options)}"
