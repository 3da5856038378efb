"""What steps and evaluations come to."""
# R runs (none in front where a run is alone)

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unvanish.measure.graph.layers import tensors_in

OnStep = Callable[[int, Tensor], bool | None]


@dataclass
class Taken:
    """What a stretch came to. `losses` and `correct` are sums over its steps, float64, [R]; `stopped`: by `on_step`."""

    losses: Tensor
    correct: Tensor
    steps: int = 0
    samples: int = 0
    stopped: bool = False


@dataclass(frozen=True)
class Evaluated:
    """How many batches were held out, the mean of their losses, and the accuracy, [R]; NaN where none were."""

    batches: int
    loss: Tensor
    accuracy: Tensor


def correct(output: Any, target: Any, lead: int = 0) -> Tensor:
    """How many samples are predicted right, of each run; NaN where these are no scores and classes of samples.

    lead   how many dimensions stand before the samples
    """
    classes = isinstance(target, Tensor) and not target.is_floating_point() and target.dtype != torch.bool
    scores = isinstance(output, Tensor) and output.is_floating_point() and output.dim() > 1
    if not classes or not scores or output.shape[:-1] != target.shape or target.dim() != 1 + lead:
        device = next((tensor.device for tensor in tensors_in(output)), None)
        return torch.full((), float("nan"), dtype=torch.float64, device=device)
    return (output.detach().argmax(-1) == target).sum(-1)


def zeros(lead: tuple[int, ...], device: torch.device | None) -> tuple[Tensor, Tensor]:
    """A sum and a count, of each run. In float64, which counts exactly, too."""
    zero = torch.zeros(lead, dtype=torch.float64, device=device)
    return zero, zero.clone()
