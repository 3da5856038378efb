"""Networks of several shapes, each with seven hidden blocks, for the contract of the remedies."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

import unvanish as uv


@dataclass(frozen=True)
class Case:
    """A network of seven hidden blocks, so that every remedy's default numbers can apply."""

    name: str
    make: Callable[[], uv.Setup]

    def __str__(self) -> str:
        return self.name

    def setup(self) -> uv.Setup:
        torch.manual_seed(0)
        return self.make()


def mlp() -> uv.Setup:
    return uv.baseline(hidden=(12,) * 7).setup()


def sequential() -> uv.Setup:
    layers: list[nn.Module] = []
    for fan_in in (20, *[12] * 6):
        layers += [nn.Linear(fan_in, 12), nn.Tanh()]
    return uv.Setup.of(nn.Sequential(*layers, nn.Linear(12, 5)), torch.randn(4, 20))


def convolutional() -> uv.Setup:
    layers: list[nn.Module] = []
    for channels in (1, *[6] * 6):
        layers += [nn.Conv2d(channels, 6, 3, padding=1), nn.Sigmoid()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5))
    return uv.Setup.of(net, torch.randn(4, 1, 8, 8))


class Unit(nn.Module):
    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.project = nn.Linear(fan_in, fan_out)
        self.squash = nn.ModuleDict({"inner": nn.Sigmoid()})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.squash["inner"](self.project(x))


class Nested(nn.Module):
    """Submodules inside submodules, run in another order than they are registered in."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 5)
        self.body = nn.ModuleDict({"late": nn.Sequential(*(Unit(12, 12) for _ in range(5)))})
        self.stem = nn.Sequential(Unit(20, 12), Unit(12, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body["late"](self.stem(x)))


def nested() -> uv.Setup:
    return uv.Setup.of(Nested(), torch.randn(4, 20))


def rectified() -> uv.Setup:
    """With what single causes want taken out: dropout, and a softmax behind the output layer."""
    layers: list[nn.Module] = []
    for fan_in in (20, *[12] * 6):
        layers += [nn.Linear(fan_in, 12), nn.ReLU(), nn.Dropout(0.2)]
    net = nn.Sequential(*layers, nn.Linear(12, 2), nn.Softmax(-1))
    return uv.Setup.of(net, torch.randn(4, 20), optimizer=uv.Optimizer("AdamW", 0.001))


class Pair(nn.Module):
    """x + f(x), with two layers in f and nothing behind the second."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(torch.relu(self.first(torch.relu(x))))


def residual() -> uv.Setup:
    net = nn.Sequential(nn.Linear(20, 12), *(Pair(12) for _ in range(3)), nn.ReLU(), nn.Linear(12, 5))
    return uv.Setup.of(net, torch.randn(4, 20))


CASES = [Case(make.__name__, make) for make in (mlp, sequential, convolutional, nested, rectified, residual)]


def fingerprint(setup: uv.Setup) -> tuple:
    """Everything about a setup that could be changed in place."""
    weights = [(name, value.clone().numpy().tobytes()) for name, value in setup.model.state_dict().items()]
    grads = [(name, p.requires_grad, p.grad is None) for name, p in setup.model.named_parameters()]
    return (repr(setup.model), weights, grads, setup.model.training, setup.blocks, setup.output, setup.init,
            setup.optimizer, setup.loss_fn, setup.stages, setup.example.numpy().tobytes())  # fmt: skip
