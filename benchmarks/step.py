"""What the gradient flow costs and what the fast step gains: the same training each way, in turn.

python benchmarks/step.py [--rounds N]

Ratios are medians over rounds, to the fast step without gradient flow.
"""

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import unvanish as uv
from unvanish.data.fashion_mnist import FashionMNIST, fashion_mnist
from unvanish.study.training import MEASURE_EVERY
from unvanish.train.process import reproducible_process
from work import trained

WAYS = {
    "fast step, nothing measured": {"every": None},
    "plain step, nothing measured": {"every": None, "fast": False},
    f"fast step, measured at every {MEASURE_EVERY}th step (default)": {"every": MEASURE_EVERY},
    "fast step, measured at every step": {"every": 1},
}


def epochs(recipe: uv.Recipe, data: FashionMNIST, way: dict[str, Any]) -> Iterator[float]:
    """The seconds of each epoch of a training without end, from its second on: the first one warms up."""
    seconds = (done.row.seconds for done in trained(recipe, data, 10**6, **way))
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
            running = {name: epochs(uv.method(method), data, way) for name, way in WAYS.items()}
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
