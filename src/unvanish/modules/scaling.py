"""Wrappers that let a network train in scaled units, and answer in the user's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from unvanish.core.blocks import Block
from unvanish.core.setup import Loss, Setup

Numbers = float | tuple[float, ...]  # one for all features, or one for each, the last dimension


def positive(numbers: Numbers) -> Numbers:
    if any(one <= 0 for one in as_tuple(numbers)):
        raise ValueError("a standard deviation is positive")
    return numbers


def as_tuple(numbers: Numbers) -> tuple[float, ...]:
    return numbers if isinstance(numbers, tuple) else (numbers,)


def within(setup: Setup, name: str) -> tuple[tuple[Block, ...], str]:
    """The names of a setup's blocks and output once its model is the child `name` of another."""
    return tuple(tuple(f"{name}.{one}" for one in block) for block in setup.blocks), f"{name}.{setup.output}"


def _scale(value: Any, mean: Tensor, std: Tensor) -> Any:
    """(x − mean)/std of every floating-point tensor in it."""
    if isinstance(value, Tensor):
        return (value - mean.to(value)) / std.to(value) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: _scale(one, mean, std) for key, one in value.items()}
    return type(value)(_scale(one, mean, std) for one in value) if isinstance(value, tuple | list) else value


class _Scaled(nn.Module):
    """A model with the numbers that it is scaled by, which move with it and are kept with its weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.train(model.training)


@final
class StandardisedInput(_Scaled):
    """The model behind (x − mean)/std."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*_scale(args, self.mean, self.std), **_scale(kwargs, self.mean, self.std))


@final
class UnscaledOutput(_Scaled):
    """The model's output times std, plus mean. Outputs are one tensor."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.model(*args, **kwargs)
        return output * self.std.to(output) + self.mean.to(output)


@final
@dataclass(frozen=True)
class ScaledLoss:
    """A loss of outputs and targets, both scaled."""

    loss_fn: Loss
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, output: Any, target: Any) -> Tensor:
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return self.loss_fn(_scale(output, mean, std), _scale(target, mean, std))


@final
@dataclass(frozen=True)
class WeightedCrossEntropy:
    """Cross-entropy over classes, each with a weight."""

    weights: tuple[float, ...]

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output, target, weight=torch.tensor(self.weights).to(output))
