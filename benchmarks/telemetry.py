"""What the gradient flow costs: the same training with and without it, in turn, as a ratio of medians.

python benchmarks/telemetry.py [--rounds N]
"""

import argparse
import statistics
from dataclasses import replace

import torch

import unvanish as uv
from unvanish.data.fashion_mnist import FashionMNIST, fashion_mnist
from unvanish.engine.flow import Schedule, every
from unvanish.engine.process import reproducible_process
from unvanish.engine.train import EpochDone, Plan, train
from unvanish.probes import ALL
from unvanish.runner import MEASURE_EVERY

CONFIGURATIONS: dict[str, tuple[tuple, Schedule]] = {
    "without": ((), lambda step: False),
    f"every {MEASURE_EVERY}th step (default)": (ALL, every(MEASURE_EVERY)),
    "every step": (ALL, every(1)),
}


def epoch_seconds(recipe: uv.Recipe, data: FashionMNIST, probes: tuple, schedule: Schedule) -> float:
    """The time of the second of two epochs: the first one warms up."""
    plan, cpu = Plan(epochs=2, batch=recipe.batch, seed=recipe.seed), torch.device("cpu")
    items = train(recipe.uninitialised(), plan, data, probes=probes, schedule=schedule, device=cpu)
    return [item.row.seconds for item in items if isinstance(item, EpochDone)][-1]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    rounds = arguments.parse_args().rounds
    data = fashion_mnist()
    data = replace(data, test=data.test.first(512))  # training is what is measured
    print("| method | flow | seconds an epoch (median, min–max) | ratio |\n| --- | --- | --- | --- |")
    with reproducible_process():
        for method in ("baseline", "2", "4a"):
            times: dict[str, list[float]] = {name: [] for name in CONFIGURATIONS}
            for _ in range(rounds):
                for name, (probes, schedule) in CONFIGURATIONS.items():
                    times[name].append(epoch_seconds(uv.method(method), data, probes, schedule))
            for name, seconds in times.items():
                pairs = [a / b for a, b in zip(seconds, times["without"], strict=True)]
                spread = f"{statistics.median(seconds):.3f} ({min(seconds):.3f}–{max(seconds):.3f})"
                print(f"| {method} | {name} | {spread} | {statistics.median(pairs):.3f} |", flush=True)


if __name__ == "__main__":
    main()
