"""The optimizer as a factory over parameters, so that it can never hold a weight that surgery has replaced."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field

from unvanish.core.errors import RecipeError, did_you_mean
from unvanish.core.values import Options, validated

# They need more than `step()` after a backward pass: a closure, or sparse gradients.
UNFIT = ("LBFGS", "SparseAdam")

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type)
    and issubclass(kind, torch.optim.Optimizer)
    and kind is not torch.optim.Optimizer
    and name not in UNFIT
}


def _one_call(kind: type[torch.optim.Optimizer]) -> dict[str, bool]:
    """Update all parameters in one call instead of a dozen calls for each: the same bits in a fifth of the time.

    "fused" would be faster still, but rounds differently.
    """
    return {"foreach": True} if "foreach" in inspect.signature(kind).parameters else {}


@validated
class Optimizer:
    """An optimizer of `torch.optim` by name, with its learning rate and its other keyword arguments.

    Calling it with parameters makes the `torch.optim.Optimizer`.

    >>> Optimizer("sgd", 0.01).name
    'SGD'
    """

    name: str
    lr: float
    options: Options = Field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {name.lower(): name for name in OPTIMIZERS}
        if self.name.lower() not in known:
            raise RecipeError(
                f"optimizer '{self.name}' is not one of torch.optim's that train with plain steps"
                f"{did_you_mean(self.name, OPTIMIZERS)}"
            )
        object.__setattr__(self, "name", known[self.name.lower()])
        if self.options or self.lr <= 0:
            # torch.optim checks them. Only then: making its first optimizer takes torch as long as being imported.
            self([torch.nn.Parameter(torch.zeros(1, 1))])

    def __call__(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        try:
            kind: Any = OPTIMIZERS[self.name]  # the base class knows no lr
            return kind(parameters, lr=self.lr, **(_one_call(kind) | self.options))
        except (TypeError, ValueError) as error:
            raise RecipeError(f"optimizer {self.name} cannot be made with {self}: {error}") from error

    def __str__(self) -> str:
        options = "".join(f", {key}={value}" for key, value in self.options.items())
        return f"lr={self.lr:g}{options}"


@dataclass(frozen=True)
class SameOptimizer:
    """Makes optimizers of the class and options of one that there is; of several groups, those of the first."""

    kind: type[torch.optim.Optimizer]
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer) -> "SameOptimizer":
        known = inspect.signature(type(optimizer).__init__).parameters
        group = optimizer.param_groups[0]
        return cls(
            type(optimizer), tuple((key, value) for key, value in group.items() if key in known and key != "params")
        )

    def same_as(self, other: Optimizer) -> bool:
        """Whether it is of that class and rate, and of its other options where that names them."""
        its = {"lr": other.lr, **other.options}
        own = dict(self.options)
        return self.kind is OPTIMIZERS[other.name] and all(own.get(name) == value for name, value in its.items())

    def __call__(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        kind: Any = self.kind
        return kind(list(parameters), **dict(self.options))
