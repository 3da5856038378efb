"""What the data type of the weights cannot hold: an optimizer's eps, small gradients, small updates.

The smallest float16 is 6e-8 and its relative spacing 1e-3; bfloat16's spacing is 8e-3.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from unvanish.core.nested import mapped
from unvanish.core.setup import Loss
from unvanish.train.batches import Batch

HALVES = (torch.float16, torch.bfloat16)
MOST = 0.5  # of the elements of the gradient


@dataclass(frozen=True)
class Precision:
    """dtype        of most weights, if it is a half precision
    eps          the optimizer's eps, where that is 0 in this data type
    underflow    the share of the gradient that is 0 in it and not in float32
    overflow     something is infinite in it and nothing in float32
    lost         the share of the weights with a gradient that a step did not change
    """

    dtype: str = ""
    eps: float | None = None
    underflow: float = 0.0
    overflow: bool = False
    lost: float = 0.0


def precision_of(
    model: nn.Module, optimizer: torch.optim.Optimizer | None, batch: Batch, loss: Loss
) -> Precision | None:
    """`None` where the weights have float32's precision or more. `model` is a copy, and keeps no gradient."""
    halves = [p for p in model.parameters() if p.dtype in HALVES and p.requires_grad]
    if not halves:
        return None
    dtype = halves[0].dtype
    groups = optimizer.param_groups if optimizer is not None else []
    eps = [
        group["eps"]
        for group in groups
        if group.get("eps") and any(p.dtype in HALVES and float(torch.tensor(group["eps"], dtype=p.dtype)) == 0
                                    for p in group["params"])
    ]  # fmt: skip
    ours = _gradients(model, batch, loss)
    wide = copy.deepcopy(model).float()
    floating = mapped(lambda one: one.float() if one.is_floating_point() else one, batch.input)
    target = mapped(lambda one: one.float() if one.dtype in HALVES else one, batch.target)
    theirs = _gradients(wide, Batch(floating, target), loss)
    gone = known = 0
    overflow = False
    for name, gradient in theirs.items():
        if name in ours and bool(torch.isfinite(gradient).all()):
            known += int((gradient != 0).sum())
            gone += int(((gradient != 0) & (ours[name] == 0)).sum())
            overflow = overflow or not bool(torch.isfinite(ours[name]).all())
    return Precision(
        str(dtype).removeprefix("torch."),
        eps[0] if eps else None,
        gone / known if known else 0.0,
        overflow,
        _lost(model, optimizer, batch, loss),
    )


def _gradients(model: nn.Module, batch: Batch, loss: Loss) -> dict[str, torch.Tensor]:
    model.zero_grad()
    try:
        loss(batch.output_of(model), batch.target).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    except (RuntimeError, TypeError, ValueError):  # a model that takes its own data type only
        return {}
    finally:
        model.zero_grad()


def _lost(model: nn.Module, optimizer: torch.optim.Optimizer | None, batch: Batch, loss: Loss) -> float:
    """One step on a copy."""
    if optimizer is None:
        return 0.0
    model, optimizer = copy.deepcopy((model, optimizer))
    before = [p.detach().clone() for p in model.parameters()]
    loss(batch.output_of(model), batch.target).backward()
    wanted = [None if p.grad is None else p.grad != 0 for p in model.parameters()]
    optimizer.step()
    stayed = total = 0
    for p, old, mask in zip(model.parameters(), before, wanted, strict=True):
        if mask is not None and p.dtype in HALVES:
            total += int(mask.sum())
            stayed += int((mask & (p.detach() == old)).sum())
    return stayed / total if total else 0.0
