"""Which trainings the native step covers."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from unvanish.core.setup import Loss
from unvanish.data.fashion_mnist import FashionMNIST
from unvanish.train.native import network, update


def uncovered(leaves: Sequence[nn.Module] | None, optimizer: torch.optim.Optimizer, loss_fn: Loss) -> str | None:
    """Why a training on the CPU takes the plain step, in a few words; `None` where the native one can be taken."""
    if loss_fn is not functional.cross_entropy:
        return "the loss is not cross-entropy"
    if leaves is None:
        return "the network is not a sequence of layers"
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if any(p.requires_grad and id(p) not in held for module in leaves for p in module.parameters()):
        return "the optimizer does not hold all weights"
    return network.uncovered(leaves) or update.uncovered(optimizer)


def fits(data: FashionMNIST, leaves: Sequence[nn.Module]) -> bool:
    """Whether images and labels are what the network takes; where they are not, the plain step's error says so."""
    first, last = leaves[0], leaves[-1]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    for images in (data.train, data.test):
        pixels_ND, labels_N = images.pixels_ND, images.labels_N
        kinds = pixels_ND.dtype in (torch.uint8, torch.float32) and labels_N.dtype is torch.int64
        if not kinds or not pixels_ND.is_contiguous() or not labels_N.is_contiguous():
            return False
        if pixels_ND.shape != (len(labels_N), first.in_features):
            return False
        if len(labels_N) and not 0 <= int(labels_N.min()) <= int(labels_N.max()) < last.out_features:
            return False
    return True
