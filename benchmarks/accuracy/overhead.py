"""What `watch` costs: a step with it over one without, in turn, medians over blocks of 32; and what `check` takes."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

import unvanish as uv
from cases import R, S, Transformer, gaussian, he, mlp, resnet

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {  # with the batch size, and how many blocks
    "MLP 7 × 128, batch 512": (lambda: mlp([S] * 7, gaussian(0.05)), 512, 9),
    "MLP 4 × 512, batch 512": (lambda: mlp([R] * 4, he, width=512), 512, 9),
    "ResNet of 9 blocks, batch 128": (resnet, 128, 4),
    "transformer × 4, batch 128": (Transformer, 128, 4),
}
BLOCK = 32  # steps measured in a row, of which one is thorough
EVERY = 50  # steps between two that are measured by the default schedule, after the first 50


def overhead(name: str) -> tuple[float, float]:
    """(at the default schedule, at every step), each as a fraction.

    Two equal networks take one step each in turn, one of them under a running `watch`.
    """
    build, rows, blocks = NETWORKS[name]
    x, y = torch.randn(rows, 784), torch.randint(0, 10, (rows,))

    def training() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = build()
        return model, torch.optim.SGD(model.parameters(), 0.001)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
        began = time.perf_counter()
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        return time.perf_counter() - began

    def pairs(every: int, steps: int) -> list[float]:
        plain, watched = training(), training()
        for one in (plain, watched):
            step(*one)
        costs = []
        with uv.watch(*watched, every=every):
            for i in range(steps):
                order = (plain, watched) if (i + i // EVERY) % 2 else (watched, plain)  # neither gains by coming second
                took = {id(one): step(*one) for one in order}
                costs.append(took[id(watched)] / took[id(plain)] - 1)
        return costs

    in_a_row = pairs(1, blocks * BLOCK + 1)[1:]
    per_step = statistics.median(statistics.fmean(in_a_row[i : i + BLOCK]) for i in range(0, len(in_a_row), BLOCK))
    rarely = pairs(EVERY, blocks * EVERY)
    measured = statistics.median(rarely[::EVERY])
    between = statistics.median(cost for i, cost in enumerate(rarely) if i % EVERY)
    return (measured + (EVERY - 1) * between) / EVERY, per_step


def check_seconds() -> dict[str, float]:
    """How long a `check` takes, the median of three, one at a time."""
    networks: dict[str, Callable[[], nn.Module]] = {
        "MLP 4 × 128": lambda: mlp([R] * 4, he),
        "baseline, 7 × 128 sigmoid": lambda: mlp([S] * 7, gaussian(0.05)),
        "transformer × 12": lambda: Transformer(12, norm_first=True),
    }
    batches = [(torch.randn(128, 784), torch.randint(0, 10, (128,))) for _ in range(9)]
    took = {}
    for name, build in networks.items():
        times = []
        for _ in range(3):
            model = build()
            began = time.perf_counter()
            uv.check(
                model, batches, loss_fn=functional.cross_entropy, optimizer=torch.optim.Adam(model.parameters(), 1e-3)
            )
            times.append(time.perf_counter() - began)
        took[name] = statistics.median(times)
    return took
