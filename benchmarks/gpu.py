"""Ensembles on a GPU: model-epochs a second by the number of seeds, and the whole published study.

python benchmarks/gpu.py [--rounds N] [--skip-study]
"""

import argparse
import statistics
import tempfile
import time

import torch

import unvanish as uv
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.study.executors.pool import WorkerPool
from unvanish.study.scheduler import train_all
from unvanish.train.process import reproducible_process
from work import trained

SEEDS = (1, 4, 16, 64, 256)


def epoch_seconds(method: str, seeds: int, rounds: int, **how: bool) -> list[float]:
    """Of each epoch of a run or an ensemble, measured at every 10th step, its evaluation included; one warms up."""
    recipe, data = uv.method(method, seed=0), fashion_mnist()
    done = trained(recipe, data, rounds + 1, runs=seeds, device="cuda", **how)
    return [epoch.row.seconds * seeds for epoch in done][1:]


def study_seconds(device: torch.device, jobs: int) -> float:
    """The whole published study, 3,600 model-epochs, with workers' start and the store."""
    recipes = [uv.method(name) for name in uv.METHODS]
    with tempfile.TemporaryDirectory() as folder, uv.Store.writer(folder) as store:
        began = time.perf_counter()
        train_all(recipes, store, executor=WorkerPool(jobs), device=device)
        return time.perf_counter() - began


def say(method: str, seeds: int, step: str, seconds: list[float]) -> None:
    speeds = [seeds / taken for taken in seconds]
    spread = f"{statistics.median(speeds):.1f} ({min(speeds):.1f}–{max(speeds):.1f})"
    print(f"| {method} | {seeds} | {step} | {spread} |", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--jobs", type=int, default=8, help="worker processes of the study")
    arguments.add_argument("--skip-study", action="store_true")
    options = arguments.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py measures CUDA, and torch sees no CUDA device on this machine: skipped")
        return
    device = torch.device("cuda")
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}\n")
    print("| method | seeds | step | model-epochs/s, median (min–max) |\n| --- | --- | --- | --- |")
    with reproducible_process():
        for method in ("baseline", "4a"):
            for seeds in SEEDS:
                say(method, seeds, "recorded in a CUDA graph", epoch_seconds(method, seeds, options.rounds))
            say(method, 1, "plain", epoch_seconds(method, 1, options.rounds, fast=False))
    if not options.skip_study:
        print(f"\nThe published study: {study_seconds(device, options.jobs):.0f} s")


if __name__ == "__main__":
    main()
