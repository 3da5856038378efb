"""Muon: the step of each hidden weight matrix is made orthogonal, so that all its directions move equally.

    M ← μ M + G,    W ← W − lr √max(1, rows/columns) · U Vᵀ,    U S Vᵀ = G + μ M

U Vᵀ by five steps of a Newton–Schulz iteration, X ← a X + (b A + c A²) X with A = X Xᵀ (Jordan et al. 2024, "Muon: an
optimizer for hidden layers in neural networks"; Bernstein & Newhouse 2024, section 2). Like Adam's, its steps do not
depend on the size of the gradient; unlike Adam's, not on its condition either.

Limitations: it is for the matrices of hidden layers. Everything else (biases, norms, convolutions, the first and the
last matrix) is trained by Adam at a rate of its own, as its authors advise. Fifteen matrix products a matrix and step.
Where a gradient is no more than rounding error its directions are random, and Muon follows all of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import PreparedOptimizer, Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated

QUINTIC = (3.4445, -4.7750, 2.0315)  # a, b, c of Jordan et al.: singular values end between 0.7 and 1.2
ROUNDS = 5
BETAS, EPS = (0.9, 0.999), 1e-8  # Adam's, as published


@final
class MuonWithAdam(torch.optim.Optimizer):
    """Muon for the matrices between the first and the last of `parameters`, Adam for all others."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, others_lr: float) -> None:
        held = list(parameters)
        matrices = [one for one in held if one.dim() == 2][1:-1]
        chosen = set(map(id, matrices))
        rest = [one for one in held if id(one) not in chosen]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "lr": lr, "momentum": momentum},
            {"params": rest, "lr": others_lr, "momentum": None},
        ]
        super().__init__([group for group in groups if group["params"]], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if group["momentum"] is None:
                    self._adam(weight, weight.grad, group["lr"])
                else:
                    self._muon(weight, weight.grad, group["lr"], group["momentum"])
        return loss

    def _muon(self, weight: Tensor, gradient: Tensor, lr: float, momentum: float) -> None:
        sum_ = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        sum_.mul_(momentum).add_(gradient)
        rows, columns = weight.shape
        weight.sub_(orthogonal(gradient + momentum * sum_), alpha=lr * max(1.0, rows / columns) ** 0.5)

    def _adam(self, weight: Tensor, gradient: Tensor, lr: float) -> None:
        state = self.state[weight]
        if not state:
            state["step"], state["mean"], state["square"] = 0, torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - BETAS[0])
        state["square"].lerp_(gradient.square(), 1 - BETAS[1])
        mean, square = (
            state[name] / (1 - beta ** state["step"]) for name, beta in zip(("mean", "square"), BETAS, strict=True)
        )
        weight.sub_(mean / (square.sqrt() + EPS), alpha=lr)


def orthogonal(matrix: Tensor) -> Tensor:
    """About U Vᵀ of `matrix` = U S Vᵀ; a matrix of zeros stays one."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.abs().amax().clamp_min(torch.finfo(x.dtype).tiny)  # squares of 1e-25 are 0 in float32
    x = x / x.norm().clamp_min(torch.finfo(x.dtype).tiny)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


@dataclass(frozen=True)
class _Factory:
    remedy: "Muon"

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return MuonWithAdam(parameters, self.remedy.lr, self.remedy.momentum, self.remedy.others_lr)


@final
@validated
class Muon(Remedy):
    """Train hidden weight matrices by Muon, everything else by Adam.

    lr         of the matrices: the size of a step in each direction
    others_lr  Adam's rate
    """

    kind: ClassVar[str] = "muon"
    replaces: ClassVar[str] = "optimizer"

    lr: Annotated[float, Field(gt=0)] = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    others_lr: Annotated[float, Field(gt=0)] = 0.001

    def apply(self, setup: Setup) -> Setup:
        factory, given = _Factory(self), setup.optimizer
        if factory in (given, given.factory if isinstance(given, PreparedOptimizer) else None):
            raise NothingToDo(f"the optimizer is {self} already")
        if len([weight for weight in setup.model.parameters() if weight.dim() == 2]) < 3:
            raise NothingToDo("Muon is for weight matrices between the first and the last, and the network has none")
        kept = replace(given, factory=factory) if isinstance(given, PreparedOptimizer) else factory
        return replace(setup, optimizer=kept)

    def __str__(self) -> str:
        return f"Muon, lr={self.lr:g}, others Adam, lr={self.others_lr:g}"
