"""The work that is timed: its size in floating-point operations, and the matrix products alone.

One model-epoch is a training epoch over 60,000 images in batches of 512 and the evaluation on 10,000, of
784 → hidden layers → 10.
"""
# B batch, D features in, E features out

import itertools
import time
from collections.abc import Iterator

import torch

import unvanish as uv
from unvanish.data.images import DataSet
from unvanish.measure.schedule import every as every_so_many
from unvanish.train.group import Run
from unvanish.train.images import ImageData
from unvanish.train.loop import EpochDone, train

TRAIN, TEST, BATCH, INPUTS, CLASSES = 60_000, 10_000, 512, 784, 10
BASELINE = (128,) * 7


def flop_per_epoch(hidden: tuple[int, ...] = BASELINE, train: int = TRAIN, test: int = TEST) -> int:
    """A multiplication and an addition for each weight and image: forward, ∂W, and ∂h but at the input."""
    fans = [INPUTS, *hidden, CLASSES]
    weights = sum(a * b for a, b in itertools.pairwise(fans))
    return 2 * train * (3 * weights - INPUTS * hidden[0]) + 2 * test * weights


class Products:
    """The matrix products of a model-epoch and nothing else: what no training step can be faster than.

    Every layer has an activation and the gradient of it, as in a step.
    """

    def __init__(self, hidden: tuple[int, ...] = BASELINE, train: int = TRAIN, test: int = TEST) -> None:
        self.train_B, self.test_B = _batches(train), _batches(test)
        fans = [INPUTS, *hidden, CLASSES]
        self.weights = [torch.randn(b, a) * 0.05 for a, b in itertools.pairwise(fans)]
        self.gradients = [torch.empty_like(weight) for weight in self.weights]
        sizes = {*self.train_B, *self.test_B}
        self.activations = {rows: [torch.rand(rows, fan) for fan in fans] for rows in sizes}
        self.passed_down = {rows: [torch.rand(rows, fan) for fan in fans] for rows in sizes}

    @torch.no_grad()
    def epoch(self) -> None:
        for rows in self.train_B:
            self._forward(rows)
            self._backward(rows)
        for rows in self.test_B:
            self._forward(rows)

    def _forward(self, rows: int) -> None:
        h = self.activations[rows]
        for layer, weight_ED in enumerate(self.weights):
            torch.mm(h[layer], weight_ED.t(), out=h[layer + 1])

    def _backward(self, rows: int) -> None:
        h, d = self.activations[rows], self.passed_down[rows]
        for layer in range(len(self.weights) - 1, -1, -1):
            torch.mm(d[layer + 1].t(), h[layer], out=self.gradients[layer])
            if layer:
                torch.mm(d[layer + 1], self.weights[layer], out=d[layer])


def gemm_rate(seconds: float = 1.0) -> float:
    """GFLOP/s of one process on the two large products of a step, the best of repeated tries."""
    best, until = 0.0, time.perf_counter() + seconds
    shapes = [(BATCH, INPUTS, 128), (BATCH, 128, 128)]
    operands = [(torch.rand(m, k), torch.rand(k, n), torch.empty(m, n)) for m, k, n in shapes]
    while time.perf_counter() < until:
        for (m, k, n), (a, b, out) in zip(shapes, operands, strict=True):
            began = time.perf_counter()
            for _ in range(20):
                torch.mm(a, b, out=out)
            best = max(best, 20 * 2 * m * k * n / (time.perf_counter() - began) / 1e9)
    return best


def _batches(count: int) -> list[int]:
    return [BATCH] * (count // BATCH) + ([count % BATCH] if count % BATCH else [])


def trained(
    recipe: uv.Recipe,
    data: DataSet,
    epochs: int,
    *,
    every: int | None = 10,
    fast: bool = True,
    runs: int = 1,
    device: str = "cpu",
) -> Iterator[EpochDone]:
    """A recipe trained for so many epochs, measured at every so many steps: what each epoch brings to the first run."""
    group = [Run(recipe.uninitialised(), epochs, recipe.seed + number) for number in range(runs)]
    where = torch.device(device)
    here = data.on(where)
    images = ImageData(here, recipe.batch, (runs,) if runs > 1 else ())
    schedule = every_so_many(every) if every else lambda step: False
    for happened in train(group, images, schedule=schedule, device=where, fast=fast):
        if isinstance(happened[0][1], EpochDone):
            yield happened[0][1]
