"""Where a fault comes from: experiments on a copy."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from unvanish.doctor.batches import Batch
from unvanish.doctor.graph import tensors_in

SECONDS = 2.0  # to ask which layers matter


def cut_and_unused(
    model: nn.Module, batch: Batch, loss: Any, names: Mapping[int, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the weights that want a gradient and have none: the layers on which the loss depends, and the others.

    Asked by changing the weight: if that changes the loss, something cuts the graph between them.
    """
    _gradient_of(model, batch, loss)
    missing = [p for p in model.parameters() if p.requires_grad and p.grad is None and p.numel()]
    if not missing:
        return (), ()
    layers: dict[str, list[nn.Parameter]] = {}
    for parameter in missing:
        layers.setdefault(names[id(parameter)], []).append(parameter)
    usual, until = _loss(model, batch, loss), time.perf_counter() + SECONDS
    if not _matters(model, batch, loss, missing, usual):
        return (), tuple(layers)
    cut = [
        name
        for name, mine in layers.items()
        if time.perf_counter() > until or _matters(model, batch, loss, mine, usual)  # no time: as most of them
    ]
    return tuple(cut), tuple(name for name in layers if name not in cut)


@torch.no_grad()
def _matters(model: nn.Module, batch: Batch, loss: Any, parameters: Sequence[nn.Parameter], usual: float) -> bool:
    """Whether the loss changes when these do."""
    generator = torch.Generator().manual_seed(0)
    kept = [parameter.detach().clone() for parameter in parameters]
    for parameter, value in zip(parameters, kept, strict=True):
        scale = float(value.abs().mean()) or 1.0
        parameter.add_(torch.randn(value.shape, generator=generator).to(value) * scale)
    changed = _loss(model, batch, loss)
    for parameter, value in zip(parameters, kept, strict=True):
        parameter.copy_(value)
    return changed != usual


def _gradient_of(model: nn.Module, batch: Batch, loss: Any) -> None:
    """Of this batch alone: with another, other parts of a network may take part."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss(batch.output_of(model), batch.target).backward()


def _loss(model: nn.Module, batch: Batch, loss: Any) -> float:
    """With the random numbers of every other call."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        return loss(batch.output_of(model), batch.target).item()


def first_non_finite(model: nn.Module, batch: Batch) -> str:
    """The first place in a forward pass where a NaN or an infinity stands."""
    if not all(map(_finite, tensors_in(batch.input))):
        return "the input"
    if not all(map(_finite, tensors_in(batch.target))):
        return "the target"
    for name, value in model.named_parameters():
        if not _finite(value):
            return name
    for name, value in model.named_buffers():  # a mask may have −∞
        if bool(torch.isnan(value).any()):
            return name
    found: list[str] = []
    hooks = [
        module.register_forward_hook(
            lambda _module, _args, output, name=name: (
                found.append(name) if not all(map(_finite, tensors_in(output))) else None
            )
        )
        for name, module in model.named_modules()
    ]
    try:
        with torch.no_grad():
            batch.output_of(model)
    finally:
        for hook in hooks:
            hook.remove()
    return (found[0] or type(model).__name__) if found else "the loss"


def _finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
