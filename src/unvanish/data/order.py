"""The batch order of a shuffled `DataLoader`, drawn from the same random numbers."""

import torch
from torch import Tensor


def epoch_order(samples: int) -> Tensor:
    """The order in which `DataLoader(shuffle=True)` would visit the samples in one iteration.

    Iterating it draws two int64 from torch's global CPU stream: a base seed for worker processes, which
    nothing uses here, and the seed of the generator behind `torch.randperm`.
    """
    draw_base_seed()
    generator = torch.Generator()
    generator.manual_seed(draw_base_seed())
    return torch.randperm(samples, generator=generator)


def draw_base_seed() -> int:
    """The int64 that every iteration over a `DataLoader` draws, an unshuffled one too."""
    return int(torch.empty((), dtype=torch.int64).random_().item())
