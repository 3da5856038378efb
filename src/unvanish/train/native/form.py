"""Which trainings the native step covers."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from unvanish.core.setup import Loss
from unvanish.train.native import network, update
from unvanish.train.native.library import loaded


def why_plain(leaves: Sequence[nn.Module] | None, optimizer: torch.optim.Optimizer, loss_fn: Loss) -> str | None:
    """Why the plain step is taken on the CPU, in a few words; `None` where the native one is."""
    if loss_fn is not functional.cross_entropy:
        return "the loss is not cross-entropy"
    if leaves is None:
        return "the network is not a sequence of layers"
    library = loaded()
    missing = f"no native step: {library}" if isinstance(library, str) else None
    return network.uncovered(leaves) or update.uncovered(optimizer) or missing
