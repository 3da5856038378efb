"""A case made ready: its model, optimizer and images."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cases import Case
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.data.images import scaled

TRAIN, TEST, BATCH, STEPS, SEEDS = 12_000, 1_000, 128, 400, (0, 1, 2)
MEAN, STD = 0.2860, 0.3530  # of FashionMNIST's training pixels


@dataclass(frozen=True)
class Subject:
    model: nn.Module
    optimizer: torch.optim.Optimizer
    x: Tensor
    y: Tensor
    held_x: Tensor
    held_y: Tensor

    def batches(self, count: int, start: int = 0) -> list[tuple[Tensor, Tensor]]:
        whole = len(self.x) // BATCH
        places = [(start + index) % whole * BATCH for index in range(count)]
        return [(self.x[at : at + BATCH], self.y[at : at + BATCH]) for at in places]


def made_ready(case: Case, seed: int) -> Subject:
    data = fashion_mnist().train.first(TRAIN + TEST)
    x = case.pixels((scaled(data.pixels_ND) - MEAN) / STD)
    y = data.labels_N
    torch.manual_seed(seed)
    model = case.build()
    if case.before:
        case.before(model, x, y)
    optimizer = case.optimizer([parameter for parameter in model.parameters() if parameter.requires_grad])
    return Subject(model, optimizer, x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:])
