"""Random networks, each made of one number, and what 400 steps of training make of them.

python benchmarks/accuracy/generated.py FIRST LAST   # label the networks FIRST to LAST - 1

A network is *healthy* if trainings from two seeds both reach 70 % on images that were not trained on, *failing* if both
stay at 30 % or less, and else is not used. The labels are kept in `generated.json` beside this file.
"""
# B batch, D features

import json
import math
import random
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.data.images import scaled

KEPT = Path(__file__).with_name("generated.json")
TUNED, HELD_OUT = range(0, 450), range(1000, 2000)  # settings were chosen on the first; the second was run once
TRAIN, TEST, BATCH, STEPS, CLASSES = 12_000, 1_000, 128, 400, 10
MEAN, STD = 0.2860, 0.3530  # of FashionMNIST's training pixels
HEALTHY, FAILING = 70.0, 30.0

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "ReLU": nn.ReLU, "LeakyReLU": nn.LeakyReLU, "ELU": nn.ELU, "SELU": nn.SELU, "GELU": nn.GELU, "SiLU": nn.SiLU,
    "Tanh": nn.Tanh, "Sigmoid": nn.Sigmoid, "Softplus": nn.Softplus,
}  # fmt: skip
INITS: dict[str, Callable[[Tensor], object] | None] = {
    "default": None,
    "N(0, 0.01²)": lambda w: nn.init.normal_(w, 0, 0.01),
    "N(0, 0.05²)": lambda w: nn.init.normal_(w, 0, 0.05),
    "N(0, 1)": lambda w: nn.init.normal_(w, 0, 1.0),
    "He": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "Glorot": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
}
OPTIMIZERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], float]] = {  # and a usual rate
    "SGD": (torch.optim.SGD, 0.05),
    "momentum": (lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9), 0.02),
    "Adam": (torch.optim.Adam, 1e-3),
    "AdamW": (torch.optim.AdamW, 1e-3),
    "RMSprop": (torch.optim.RMSprop, 1e-3),
}


@dataclass(frozen=True)
class Random:
    """What a number stands for. `rate` is the learning rate."""

    seed: int
    depth: int
    width: int
    activation: str
    init: str
    gain: float
    norm: str
    skip: bool
    dropout: float
    optimizer: str
    rate: float

    def __str__(self) -> str:
        parts = [f"{self.depth} × {self.width} {self.activation}", f"{self.init} × {self.gain:g}"]
        parts += [self.norm] if self.norm else []
        parts += ["skips"] if self.skip else []
        parts += [f"dropout {self.dropout:g}"] if self.dropout else []
        return ", ".join([*parts, f"{self.optimizer} {self.rate:.2g}"])

    def build(self) -> nn.Module:
        layers: list[nn.Module] = []
        for number in range(self.depth):
            linear = nn.Linear(self.width if number else 784, self.width)
            inner: list[nn.Module] = [linear, *_norm(self.norm, self.width), ACTIVATIONS[self.activation]()]
            inner += [nn.Dropout(self.dropout)] if self.dropout else []
            layers.append(Skip(nn.Sequential(*inner)) if self.skip and number else nn.Sequential(*inner))
        model = nn.Sequential(*layers, nn.Linear(self.width, CLASSES))
        init = INITS[self.init]
        with torch.no_grad():
            for linear in (module for module in model.modules() if isinstance(module, nn.Linear)):
                if init is not None:
                    init(linear.weight)
                    linear.bias.zero_()
                linear.weight.mul_(self.gain)
        return model

    def optimizer_of(self, model: nn.Module) -> torch.optim.Optimizer:
        return OPTIMIZERS[self.optimizer][0](model.parameters(), lr=self.rate)


class Skip(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, h: Tensor) -> Tensor:
        return h + self.inner(h)


def _norm(name: str, width: int) -> list[nn.Module]:
    return {"": [], "batch norm": [nn.BatchNorm1d(width)], "layer norm": [nn.LayerNorm(width)]}[name]


def generated(seed: int) -> Random:
    draw = random.Random(seed)
    optimizer = draw.choice(list(OPTIMIZERS))
    return Random(
        seed,
        depth=round(math.exp(draw.uniform(math.log(3), math.log(60)))),
        width=draw.choice((32, 64, 128)),
        activation=draw.choice(list(ACTIVATIONS)),
        init=draw.choice(list(INITS)),
        gain=draw.choice((0.5, 1.0, 1.0, 1.0, 1.5)),
        norm=draw.choice(("", "", "batch norm", "layer norm")),
        skip=draw.random() < 0.25,
        dropout=draw.choice((0.0, 0.0, 0.0, 0.1, 0.3)),
        optimizer=optimizer,
        rate=float(f"{OPTIMIZERS[optimizer][1] * 10 ** draw.uniform(-1.0, 1.5):.2g}"),
    )


@cache
def images() -> tuple[Tensor, Tensor]:
    data = fashion_mnist().train.first(TRAIN + TEST)
    return (scaled(data.pixels_ND) - MEAN) / STD, data.labels_N


def batches(count: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """In an order of the seed's."""
    x, y = images()
    order = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(seed))
    places = [order[at * BATCH % (TRAIN - BATCH) :][:BATCH] for at in range(count)]
    return [(x[place], y[place]) for place in places]


def accuracy(network: Random, seed: int) -> float:
    """In percent, of one training."""
    torch.manual_seed(network.seed + 100_000 * seed)
    model = network.build()
    optimizer = network.optimizer_of(model)
    for step, (x, y) in enumerate(batches(STEPS, seed)):
        loss = functional.cross_entropy(model(x), y)
        if step % 20 == 0 and not math.isfinite(loss.item()):
            return 10.0  # nothing brings it back
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = images()
    model.eval()
    with torch.no_grad():
        predicted = torch.cat([model(part) for part in x[TRAIN:].split(500)]).argmax(1)
    return round(100 * (predicted == y[TRAIN:]).float().mean().item(), 1)


def label(seed: int) -> tuple[int, list[float]]:
    torch.set_num_threads(1)
    first = accuracy(generated(seed), 0)
    if FAILING < first < HEALTHY:
        return seed, [first]
    return seed, [first, accuracy(generated(seed), 1)]


def labels() -> dict[int, bool | None]:
    """Healthy, failing or neither, by seed."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return {int(seed): _verdict(found) for seed, found in kept.items()}


def _verdict(found: Sequence[float]) -> bool | None:
    if len(found) < 2:
        return None
    return True if min(found) >= HEALTHY else False if max(found) <= FAILING else None


def main() -> None:
    first, last, workers = (int(word) for word in [*sys.argv[1:3], *(sys.argv[3:] or ["1"])])
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    missing = [seed for seed in range(first, last) if str(seed) not in kept]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for seed, found in pool.map(label, missing):
            kept[str(seed)] = found
            print(seed, generated(seed), *found, flush=True)
            if seed % 10 == 0:
                KEPT.write_text(_text(kept))
    KEPT.write_text(_text(kept))


def _text(kept: dict[str, list[float]]) -> str:
    return "{\n" + ",\n".join(f'"{seed}": {json.dumps(found)}' for seed, found in kept.items()) + "\n}\n"


if __name__ == "__main__":
    main()
