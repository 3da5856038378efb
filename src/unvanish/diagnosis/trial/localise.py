"""Where a fault comes from: experiments on a copy."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from unvanish.core.setup import Loss
from unvanish.diagnosis.trial.learning import Quietly
from unvanish.train.batches import Batch

ASKED = 64  # layers, one by one; of more, the rest is taken to be as they are


def cut_and_unused(
    model: nn.Module, batch: Batch, loss: Loss, names: Mapping[int, str], quietly: Quietly
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the weights that want a gradient and have none: the layers on which the loss depends, and the others.

    Asked by changing the weight: if that changes the loss, something cuts the graph between them. The loss depends on
    a layer if it depends on one of its parameters: of a derivative by the input, the last bias is no part.
    """
    _gradient_of(model, batch, loss)
    missing = [p for p in model.parameters() if p.requires_grad and p.grad is None and p.numel()]
    if not missing:
        return (), ()
    reached = {names[id(p)] for p in model.parameters() if p.grad is not None}
    layers: dict[str, list[nn.Parameter]] = {}
    for parameter in missing:
        layers.setdefault(names[id(parameter)], []).append(parameter)

    def loss_now() -> float:
        with torch.random.fork_rng(), quietly():  # with the random numbers of every other call
            torch.manual_seed(0)
            return loss(batch.output_of(model), batch.target).item()

    usual = loss_now()
    if not _matters(loss_now, missing, usual):
        return (), tuple(name for name in layers if name not in reached)
    cut = [
        name for place, (name, mine) in enumerate(layers.items()) if place >= ASKED or _matters(loss_now, mine, usual)
    ]
    return tuple(cut), tuple(name for name in layers if name not in cut and name not in reached)


@torch.no_grad()
def _matters(loss_now: Callable[[], float], parameters: Sequence[nn.Parameter], usual: float) -> bool:
    """Whether the loss changes when these do."""
    generator = torch.Generator().manual_seed(0)
    kept = [parameter.detach().clone() for parameter in parameters]
    for parameter, value in zip(parameters, kept, strict=True):
        scale = float(value.abs().mean()) or 1.0
        parameter.add_(torch.randn(value.shape, generator=generator).to(value) * scale)
    changed = loss_now()
    for parameter, value in zip(parameters, kept, strict=True):
        parameter.copy_(value)
    return changed != usual


def _gradient_of(model: nn.Module, batch: Batch, loss: Loss) -> None:
    """Of this batch alone: with another, other parts of a network may take part."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss(batch.output_of(model), batch.target).backward()
