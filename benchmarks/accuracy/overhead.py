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
    "MLP 4 × 512, batch 512": (lambda: mlp([R] * 4, he, width=512), 512, 3),
    "ResNet of 9 blocks, batch 128": (resnet, 128, 2),
    "transformer × 4, batch 128": (Transformer, 128, 2),
}
BLOCK = 32  # steps measured in a row, of which one is thorough
DEFAULT_SHARE = 50  # by default every 50th step is measured, after the first 50


def overhead(name: str) -> tuple[float, float]:
    """(at the default schedule, at every step), each as a fraction.

    The default is the cost of one measured step, all layers looked at, over as many steps as lie between two.
    """
    build, rows, blocks = NETWORKS[name]
    model, x, y = build(), torch.randn(rows, 784), torch.randint(0, 10, (rows,))
    optimizer = torch.optim.SGD(model.parameters(), 0.001)

    def step() -> float:
        began = time.perf_counter()
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        return time.perf_counter() - began

    for _ in range(5):
        step()
    in_a_row, alone = [], []
    for gap, ratios in ((1, in_a_row), (DEFAULT_SHARE, alone)):
        flow = uv.watch(model, optimizer, every=1)
        flow._recorder.steps = 100
        for _ in range(blocks):
            with_flow = without = 0.0
            for _ in range(BLOCK):
                without += step()
                flow.start()
                flow._recorder.steps += gap - 1  # so that the last measured step lies that far back
                with_flow += step()
                flow.stop()
                without += step()
            ratios.append(2 * with_flow / without - 1)
    return statistics.median(alone) / DEFAULT_SHARE, statistics.median(in_a_row)


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
