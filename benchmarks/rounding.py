"""What becomes of rounding: every gradient off by at most 2e-7 of itself, and the weights after 50 steps.

python benchmarks/rounding.py

This is why the fast step keeps the bits of the plain one: of a training that magnifies rounding, nobody could
say that a step that rounds differently does the same.
"""

from dataclasses import replace

import torch
from torch import Tensor

import unvanish as uv
from unvanish.data.fashion_mnist import FashionMNIST, fashion_mnist
from unvanish.engine.flow import Flow
from unvanish.engine.process import reproducible_process
from unvanish.engine.step import PlainStep
from unvanish.engine.train import Ended, Plan, train

STEPS, ROUNDING = 50, 2e-7


class Rounded:
    """The plain step with other rounding errors."""

    name = "rounded"

    def __init__(self, *arguments) -> None:
        self.step = PlainStep(*arguments)
        self.noise = torch.Generator().manual_seed(1)

    def gradients(self, x: Tensor, y_B: Tensor, flow: Flow) -> tuple[Tensor, Tensor]:
        seen = self.step.gradients(x, y_B, flow)
        for parameter in self.step.network.parameters():
            if parameter.grad is not None:
                error = torch.rand(parameter.shape, generator=self.noise).mul_(2).sub_(1)
                parameter.grad.mul_(1 + ROUNDING * error)
        return seen


def weights(recipe: uv.Recipe, data: FashionMNIST, make_step: type) -> Tensor:
    few = replace(data, train=data.train.first(recipe.batch * STEPS), test=data.test.first(recipe.batch))
    plan = Plan(epochs=1, batch=recipe.batch, seed=recipe.seed)
    options = {"probes": (), "schedule": lambda step: False, "device": torch.device("cpu"), "make_step": make_step}
    *_, end = train(recipe.uninitialised(), plan, few, **options)
    assert isinstance(end, Ended)
    return torch.cat([value.double().flatten() for value in end.weights.values()])


def main() -> None:
    data = fashion_mnist()
    print("| method | relative difference of the weights |\n| --- | --- |")
    with reproducible_process():
        for method in uv.METHODS:
            plain, rounded = (weights(uv.method(method), data, step) for step in (PlainStep, Rounded))
            print(f"| {method} | {(plain - rounded).norm() / plain.norm():.0e} |", flush=True)


if __name__ == "__main__":
    main()
