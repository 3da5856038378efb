"""A network that does not learn: ten sigmoid layers on FashionMNIST, PyTorch's default initial weights, Adam.

unvanish check examples/failing.py:make
unvanish repair examples/failing.py:make
"""

import torch
from torch import nn

from unvanish.data.fashion_mnist import fashion_mnist, scaled

BATCHES, BATCH, WIDTH, DEPTH = 90, 128, 64, 10


def make():
    """What `unvanish check` and `unvanish repair` take: a model, batches, a loss and an optimizer."""
    torch.manual_seed(0)
    images = fashion_mnist().train.first(BATCHES * BATCH)
    x = scaled(images.pixels_ND)
    layers = [layer for fan_in in (784, *[WIDTH] * (DEPTH - 1)) for layer in (nn.Linear(fan_in, WIDTH), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))
    return {
        "model": model,
        "batches": list(zip(x.split(BATCH), images.labels_N.split(BATCH), strict=True)),
        "loss_fn": nn.functional.cross_entropy,
        "optimizer": torch.optim.Adam(model.parameters(), 1e-3),
    }
