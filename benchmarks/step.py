"""What measuring costs and what the native step gains: the same training each way, in turn, beside its products.

python benchmarks/step.py [--rounds N] [--only METHOD …]

A model-epoch each: training and evaluation. Ratios are medians over rounds of pairs: the rate, of that of PyTorch's
matrix products of the same shapes alone; and the time, of that of the native step that measures nothing.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import unvanish as uv
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.data.images import DataSet
from unvanish.study.training import MEASURE_EVERY
from unvanish.train.native.library import missing
from unvanish.train.process import reproducible_process
from work import Products, trained

METHODS = ("baseline", "2", "3", "4a", "4a-affine", "4b", "5")
UNMEASURED = "native step, nothing measured"
WAYS: dict[str, dict[str, Any]] = {
    UNMEASURED: {"every": None},
    f"native step, measured at every {MEASURE_EVERY}th step": {"every": MEASURE_EVERY},
    "native step, measured at every step (default)": {"every": 1},
    "plain step, nothing measured": {"every": None, "fast": False},
    f"plain step, measured at every {MEASURE_EVERY}th step (default)": {"every": MEASURE_EVERY, "fast": False},
}


def epochs(recipe: uv.Recipe, data: DataSet, way: dict[str, Any]) -> Iterator[float]:
    """The seconds of each epoch of a training without end, from its second on: the first one warms up."""
    seconds = (done.row.seconds for done in trained(recipe, data, 10**6, **way))
    next(seconds)
    return seconds


def products() -> Iterator[float]:
    alone = Products()
    while True:
        began = time.perf_counter()
        alone.epoch()
        yield time.perf_counter() - began


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--only", nargs="+", default=METHODS, metavar="METHOD")
    options = arguments.parse_args()
    if missing():
        print(f"there is no native step, so all ways are the plain one: {missing()}")
    data = fashion_mnist()
    print("| method | way | seconds an epoch, median (min–max) | of the products | time, of unmeasured |")
    print("| --- | --- | --- | --- | --- |")
    with reproducible_process():
        for method in options.only:
            running = {"products": products()}
            running |= {name: epochs(uv.method(method), data, way) for name, way in WAYS.items()}
            times: dict[str, list[float]] = {name: [] for name in running}
            for _ in range(options.rounds):
                for name, seconds in running.items():
                    times[name].append(next(seconds))
            for name, seconds in list(times.items())[1:]:
                rate = [a / b for a, b in zip(times["products"], seconds, strict=True)]
                cost = [b / a for a, b in zip(times[UNMEASURED], seconds, strict=True)]
                spread = f"{statistics.median(seconds):.3f} ({min(seconds):.3f}–{max(seconds):.3f})"
                print(
                    f"| {method} | {name} | {spread} | {statistics.median(rate):.2f} | {statistics.median(cost):.3f} |"
                )


if __name__ == "__main__":
    main()
