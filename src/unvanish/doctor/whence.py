"""Where a fault comes from: experiments on a copy."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from unvanish.doctor.batches import Batch
from unvanish.doctor.graph import tensors_in


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
    cut, unused = dict[str, None](), dict[str, None]()
    with torch.no_grad():
        usual = _loss(model, batch, loss)
        for parameter in missing:
            kept = parameter.detach().clone()
            scale = float(kept.abs().mean()) or 1.0
            parameter.add_(torch.randn(kept.shape, generator=torch.Generator().manual_seed(0)).to(kept) * scale)
            changed = _loss(model, batch, loss)
            parameter.copy_(kept)
            (cut if changed != usual else unused)[names[id(parameter)]] = None
    return tuple(cut), tuple(name for name in unused if name not in cut)


def _gradient_of(model: nn.Module, batch: Batch, loss: Any) -> None:
    """Of this batch alone: with another, other parts of a network may take part."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss(batch.output_of(model), batch.target).backward()


def _loss(model: nn.Module, batch: Batch, loss: Any) -> float:
    """With the random numbers of every other call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return loss(batch.output_of(model), batch.target).item()


def first_non_finite(model: nn.Module, batch: Batch) -> str:
    """The first place in a forward pass where a NaN or an infinity stands."""
    if not all(map(_finite, tensors_in(batch.input))):
        return "the input"
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if not _finite(value):
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
