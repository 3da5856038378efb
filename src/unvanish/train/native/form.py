"""Which trainings the native step covers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from unvanish.core.setup import Loss
from unvanish.data.images import DataSet
from unvanish.train.native import network, update


def uncovered(
    leaves: Sequence[nn.Module] | None,
    optimizer: type[torch.optim.Optimizer],
    options: Mapping[str, Any],
    loss_fn: Loss,
) -> str | None:
    """Why a training on the CPU takes the plain step, in a few words; `None` where the native one can be taken.

    It asks for the optimizer's class and keyword arguments: to make one takes torch as long as to be imported.
    """
    if loss_fn is not functional.cross_entropy:
        return "the loss is not cross-entropy"
    if leaves is None:
        return "the network is not a sequence of layers"
    return network.uncovered(leaves) or update.uncovered(optimizer, options)


def fits(data: DataSet, batch: int, leaves: Sequence[nn.Module]) -> bool:
    """Whether images and labels are what the network takes; where they are not, the plain step's error says so."""
    features, last = network.input_width(leaves), leaves[-1]
    norms = [module for module in leaves if isinstance(module, nn.BatchNorm1d)]
    assert isinstance(last, nn.Linear)
    for images, training in ((data.train, True), (data.test, False)):
        pixels_ND, labels_N = images.pixels_ND, images.labels_N
        kinds = pixels_ND.dtype in (torch.uint8, torch.float32) and labels_N.dtype is torch.int64
        if not kinds or not pixels_ND.is_contiguous() or not labels_N.is_contiguous():
            return False
        if pixels_ND.shape != (len(labels_N), features):
            return False
        if len(labels_N) and not 0 <= int(labels_N.min()) <= int(labels_N.max()) < last.out_features:
            return False
        one_alone = len(labels_N) and (batch == 1 or len(labels_N) % batch == 1)  # which has no variance
        if one_alone and any(norm.running_mean is None or (training and norm.training) for norm in norms):
            return False
    return True
