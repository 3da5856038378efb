"""A normalised backward signal: every hidden layer gets one of the same size.

    δ_l ← δ_l / (B rms(δ_l)),    δ_l = ∂L/∂h_l over a batch of B samples

What the layers behind shrank or stretched is undone at each of them, so every layer moves as much as its own input
warrants (Yu et al. 2017, "Block-normalized gradient method", eq. 4, there of the weights' gradients; here of the
signal that makes them, so that what passes on is normalised too). The forward pass stays as it is.

Limitations: the updates are no gradient of any loss, and do not get smaller towards a minimum: the learning rate has to
fall. A signal that is exactly 0 stays 0. It mends the size of the signal and not what it says: where the activations
no longer depend on the input, neither does what is learned. A factor on the loss reaches only the output layer.
"""

from dataclasses import replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.replace import replaced


@final
class NormalizeBackward(nn.Module):
    """Passes its input on; the gradient that comes back leaves it with a root mean square of 1/B."""

    def forward(self, x: Tensor) -> Tensor:
        return _Normalized.apply(x)


class _Normalized(torch.autograd.Function):
    generate_vmap_rule = True  # many networks at once, each by its own size

    @staticmethod
    def forward(x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        pass

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (g,) = grad_outputs
        scaled = g / g.abs().amax().clamp_min(torch.finfo(g.dtype).tiny)  # squares of 1e-25 are 0 in float32
        return scaled / (len(g) * scaled.square().mean().sqrt()).clamp_min(torch.finfo(g.dtype).tiny)


@final
@validated
class NormalizedBackward(Remedy):
    """Give the backward signal the same size at the output of each hidden block."""

    kind: ClassVar[str] = "normalized-backward"

    def apply(self, setup: Setup) -> Setup:
        if any(isinstance(module, NormalizeBackward) for module in setup.model.modules()):
            raise NothingToDo("the backward signal is normalised already")
        if not setup.blocks:
            raise NothingToDo("the network has no hidden blocks whose backward signal could be normalised")
        ends = [block[-1] for block in setup.blocks]
        changes = dict.fromkeys(ends, lambda last: nn.Sequential(last, NormalizeBackward()))
        return replace(setup, model=replaced(setup.model, changes))

    def __str__(self) -> str:
        return "the backward signal normalised behind every block"
