"""Normalise inside the network: give every layer a pre-activation of mean 0 and standard deviation 1.

    z ← (z − E[z]) / √(Var[z] + ε)

Whatever the layer before did to the scale, the activation works around its steepest point, and the backward signal
is divided by the same std that shrank the forward one (Ioffe & Szegedy 2015, algorithm 1). `batch-norm` takes the
moments of each unit over the batch; `standardize` takes one mean and one std over the whole batch × features tensor;
`layer-norm` those of each sample over its units (Ba, Kiros & Hinton 2016, eq. 4), and `rms-norm` the root mean
square of each sample alone (Zhang & Sennrich 2019, eq. 4), so that neither looks at other samples.

Limitations: `standardize` does little where the units differ but the inputs do not: the spread between units stays,
the difference between inputs goes on vanishing, so the network learns nothing for some fifty epochs (method 4b).
Batch norm without skips makes the gradient explode in deep nets, by about 1.2 per layer (Yang et al. 2019); and with
the batch's own statistics at evaluation, as published, a prediction depends on the other images of its batch. Layer
norm and RMS norm keep the size of each sample's signal and not the difference between samples: behind saturating
activations that vanishes all the same, only more slowly.
"""

from dataclasses import replace
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from unvanish.core.blocks import NORMS, WEIGHT_LAYERS, modules_in, output_shapes
from unvanish.core.errors import NothingToDo, RecipeError
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.replace import replaced


@final
class Standardize(nn.Module):
    """(x − mean) / std, with one mean and one unbiased std over the whole tensor. No parameters."""

    def forward(self, x: Tensor) -> Tensor:
        y, _std = _Standardized.apply(x)
        return y


class _Standardized(torch.autograd.Function):
    """y = (x − m) / s and its gradient in closed form: `torch.std` and autograd through it take four times as long.

    ∂L/∂x = (g − mean(g) − y · Σ(g y) / (n − 1)) / s,    g = ∂L/∂y
    """

    generate_vmap_rule = True  # many networks at once, each by its own moments

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = x - x.mean()
        flat = y.flatten()
        std = flat.dot(flat).sqrt() / (y.numel() - 1) ** 0.5
        return y.div_(std), std

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        y, std = output
        ctx.mark_non_differentiable(std)
        ctx.save_for_backward(y, std)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (g, _), (y, std) = grad_outputs, ctx.saved_tensors
        along = g.flatten().dot(y.flatten()) / (y.numel() - 1)
        return (g - g.mean()).addcmul(y, along, value=-1).div_(std)


# by the number of dimensions of one sample: features, channels × length, channels × height × width, …
BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
SAMPLE_NORMS = {"layer-norm": "LayerNorm", "rms-norm": "RMSNorm"}


def _of_each_sample(how: str, layer: nn.Module, shape: tuple[int, ...], learned: bool) -> nn.Module:
    """Over the units; of a convolution over channels and places together, as one group."""
    if isinstance(layer, nn.Linear):
        kind = nn.LayerNorm if how == "layer-norm" else nn.RMSNorm
        return kind(shape[-1], elementwise_affine=learned)
    if how == "rms-norm":
        raise RecipeError("RMS norm is for Linear layers; behind a convolution use layer-norm or batch-norm")
    return nn.GroupNorm(1, shape[0], affine=learned)


@final
@validated
class NormalizeInside(Remedy):
    """Normalise between each hidden weight layer and what follows it.

    how      batch-norm, standardize (the whole tensor), layer-norm or rms-norm
    learned  scale and shift are; layer norm and RMS norm, which have no published form here, follow it as well

    As published, batch norm has no learned scale and shift and uses the batch's own statistics at
    evaluation too. `learned=True` is batch norm as it is meant: both learned, running statistics at
    evaluation.
    """

    kind: ClassVar[str] = "normalize-inside"

    how: Literal["batch-norm", "standardize", "layer-norm", "rms-norm"] = "batch-norm"
    learned: bool = False

    def __post_init__(self) -> None:
        if self.learned and self.how == "standardize":
            raise RecipeError("standardize has nothing to learn; learned=True goes with batch-norm")

    def apply(self, setup: Setup) -> Setup:
        if not setup.blocks:
            raise NothingToDo("the network has no hidden Linear or convolution layers to normalise behind")
        layers = [name for block in setup.blocks for name in self._bare_layers(setup.model, block)]
        if not layers:
            raise NothingToDo("every hidden block normalises already")
        shapes = output_shapes(setup.model, layers, setup.example)
        changes = {
            name: lambda layer, shape=shape: nn.Sequential(layer, self._norm(layer, shape))
            for name, shape in zip(layers, shapes, strict=True)
        }
        return replace(setup, model=replaced(setup.model, changes))

    def _bare_layers(self, model: nn.Module, block: tuple[str, ...]) -> list[str]:
        inside = list(modules_in(model, block))
        if any(isinstance(module, (*NORMS, Standardize)) for _, module in inside):
            return []
        return [name for name, module in inside if isinstance(module, WEIGHT_LAYERS)]

    def _norm(self, layer: nn.Module, shape: tuple[int, ...]) -> nn.Module:
        if self.how == "standardize":
            return Standardize()
        if self.how in SAMPLE_NORMS:
            return _of_each_sample(self.how, layer, shape, self.learned)
        if isinstance(layer, nn.Linear) and len(shape) > 1:
            raise RecipeError("batch norm after a Linear over sequences would mix positions; use layer-norm there")
        return BATCH_NORMS[len(shape)](next(iter(shape)), affine=self.learned, track_running_stats=self.learned)

    def __str__(self) -> str:
        if self.how == "standardize":
            return "(x − mean)/std over the whole batch before each activation"
        name = SAMPLE_NORMS.get(self.how, "BatchNorm")
        return f"{name} before each activation" + ("" if self.learned else ", without scale and shift")
