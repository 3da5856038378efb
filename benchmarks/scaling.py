"""How the time grows with depth, width, runs and processes, each beside the matrix products of the same shape.

python benchmarks/scaling.py [--rounds N] [--to FOLDER]

Depth and width: one process, 6,144 images, an epoch of ours and of the products in turn. Runs and processes:
the whole command's machinery (workers' start, store), runs of one full epoch each, beside the time that the
products alone would take on as many cores.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

import unvanish as uv
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.data.images import DataSet
from unvanish.study.executors.pool import WorkerPool
from unvanish.study.scheduler import train_all
from unvanish.train.process import reproducible_process
from work import BATCH, Products, flop_per_epoch, trained

TRAIN, TEST = 12 * BATCH, 2 * BATCH
DEPTHS, WIDTHS, RUNS = (7, 14, 30, 50, 100, 200), (32, 64, 128, 256, 512, 1024), (1, 2, 4, 8, 16, 32, 64)
CPU = torch.device("cpu")
WORDS = {
    "ns_per_kflop": "ns per kFLOP",
    "of_products": "of the products",
    "products_only": "products only",
    "runs": f"runs on {len(os.sched_getaffinity(0))} cores",
    "processes": "processes for 8 runs",
}

Row = dict[str, float]


def against_products(hidden: tuple[int, ...], data: DataSet, rounds: int) -> Row:
    """Seconds an epoch of ours and of the products, in turn."""
    recipe, products = uv.baseline(hidden=hidden), Products(hidden, TRAIN, TEST)
    ours, theirs = [], []
    products.epoch()
    for done in trained(recipe, data, rounds + 1, every=1):
        ours.append(done.row.seconds)
        began = time.perf_counter()
        products.epoch()
        theirs.append(time.perf_counter() - began)
    seconds = statistics.median(ours[1:])  # the first one warms up
    ratios = [b / a for a, b in zip(ours[1:], theirs[1:], strict=True)]
    return {
        "seconds": seconds,
        "ns_per_kflop": seconds * 1e12 / flop_per_epoch(hidden, TRAIN, TEST),
        "of_products": statistics.median(ratios),
    }


def many_runs(count: int, jobs: int) -> float:
    """Seconds of training so many runs of one full epoch, workers' start and store included."""
    recipes = [uv.baseline(epochs=1, seed=seed) for seed in range(count)]
    with tempfile.TemporaryDirectory() as folder, uv.Store.writer(folder) as store:
        began = time.perf_counter()
        train_all(recipes, store, executor=WorkerPool(jobs), device=CPU)
        return time.perf_counter() - began


def products_seconds(rounds: int) -> float:
    """Of a full epoch of the baseline's products, on one core."""
    products, taken = Products(), []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        products.epoch()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--to", type=Path, default=Path("build/bench"))
    options = arguments.parse_args()
    full, cores = fashion_mnist(), len(os.sched_getaffinity(0))
    data = replace(full, train=full.train.first(TRAIN), test=full.test.first(TEST))
    result: dict[str, dict[int, Row]] = {"depth": {}, "width": {}, "runs": {}, "processes": {}}
    with reproducible_process():
        for depth in DEPTHS:
            result["depth"][depth] = against_products((128,) * depth, data, options.rounds)
            print(f"  depth {depth}", file=sys.stderr, flush=True)
        for width in WIDTHS:
            result["width"][width] = against_products((width,) * 7, data, options.rounds)
            print(f"  width {width}", file=sys.stderr, flush=True)
        limit = products_seconds(options.rounds)
    for count in RUNS:
        seconds, products = many_runs(count, cores), limit * -(-count // cores)
        result["runs"][count] = {"seconds": seconds, "products_only": products, "of_products": products / seconds}
        print(f"  {count} runs", file=sys.stderr, flush=True)
    for jobs in range(1, cores + 1):
        seconds = many_runs(8, jobs)
        products = limit * -(-8 // jobs)
        result["processes"][jobs] = {"seconds": seconds, "products_only": products, "of_products": products / seconds}
    text = "\n\n".join(_table(name, rows) for name, rows in result.items())
    print(text)
    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "scaling.md").write_text(text + "\n")
    (options.to / "scaling.json").write_text(json.dumps(result, indent=1))


def _table(name: str, rows: dict[int, Row]) -> str:
    columns = list(next(iter(rows.values())))
    words = " | ".join(WORDS.get(column, column) for column in columns)
    head = [f"| {WORDS.get(name, name)} | {words} |", "| --- " * (len(columns) + 1) + "|"]
    body = [f"| {key} | {' | '.join(f'{row[column]:.3f}' for column in columns)} |" for key, row in rows.items()]
    return "\n".join(head + body)


if __name__ == "__main__":
    main()
