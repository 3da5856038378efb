"""What the gradient flow costs and what the fast step gains: the same training each way, in turn.

python benchmarks/step.py [--rounds N]

Ratios are medians over rounds, to the fast step without gradient flow.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

import unvanish as uv
from unvanish.core.schedule import every
from unvanish.data.fashion_mnist import FashionMNIST, fashion_mnist
from unvanish.engine.process import reproducible_process
from unvanish.engine.step import PlainStep
from unvanish.engine.train import EpochDone, Plan, train
from unvanish.probes import ALL
from unvanish.runner import MEASURE_EVERY

never = partial(train, probes=(), schedule=lambda step: False)
WAYS: dict[str, Callable] = {
    "fast step, no flow": never,
    "plain step, no flow": partial(never, make_step=PlainStep),
    f"fast step, flow every {MEASURE_EVERY}th step (default)": partial(
        train, probes=ALL, schedule=every(MEASURE_EVERY)
    ),
    "fast step, flow every step": partial(train, probes=ALL, schedule=every(1)),
}


def epochs(way: Callable, recipe: uv.Recipe, data: FashionMNIST) -> Iterator[float]:
    """The seconds of each epoch of a training without end, from its second on: the first one warms up."""
    plan = Plan(epochs=10**6, batch=recipe.batch, seed=recipe.seed)
    items = way(recipe.uninitialised(), plan, data, device=torch.device("cpu"))
    seconds = (item.row.seconds for item in items if isinstance(item, EpochDone))
    next(seconds)
    return seconds


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=15)
    rounds = arguments.parse_args().rounds
    data = fashion_mnist()
    data = replace(data, test=data.test.first(512))  # training is what is measured
    print("| method | way | seconds an epoch, median (min–max) | ratio |\n| --- | --- | --- | --- |")
    with reproducible_process():
        for method in ("baseline", "2", "4a"):
            running = {name: epochs(way, uv.method(method), data) for name, way in WAYS.items()}
            times: dict[str, list[float]] = {name: [] for name in WAYS}
            for _ in range(rounds):
                for name, seconds in running.items():
                    times[name].append(next(seconds))
            reference = next(iter(times.values()))
            for name, seconds in times.items():
                pairs = [a / b for a, b in zip(seconds, reference, strict=True)]
                spread = f"{statistics.median(seconds):.3f} ({min(seconds):.3f}–{max(seconds):.3f})"
                print(f"| {method} | {name} | {spread} | {statistics.median(pairs):.3f} |", flush=True)


if __name__ == "__main__":
    main()
