"""Ensembles on a GPU: model-epochs a second by the number of seeds, and the whole published study.

python benchmarks/gpu.py [--rounds N] [--skip-study]
"""

import argparse
import statistics
import tempfile
import time

import torch

import unvanish as uv
from unvanish.core.schedule import every
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.engine.cohort import Member, Plan
from unvanish.engine.process import reproducible_process
from unvanish.engine.train import EpochDone, train_together
from unvanish.probes import ALL as PROBES
from unvanish.runner import MEASURE_EVERY
from unvanish.study.crew import Crew
from unvanish.study.local import train_all
from work import BATCH

SEEDS = (1, 4, 16, 64, 256)


def epoch_seconds(method: str, seeds: int, rounds: int, device: torch.device) -> list[float]:
    """Of an ensemble with gradient flow, its evaluation included; the first epoch warms up."""
    setup = uv.method(method).uninitialised()
    members = [Member(setup, Plan(rounds + 1, BATCH, seed)) for seed in range(seeds)]
    options = {"probes": PROBES, "schedule": every(MEASURE_EVERY), "device": device}
    happened = train_together(members, fashion_mnist(), **options)
    return [item.row.seconds for _, item in (epoch[0] for epoch in happened) if isinstance(item, EpochDone)][1:]


def study_seconds(device: torch.device, jobs: int) -> float:
    """The whole published study, 3,600 model-epochs, with workers' start and the store."""
    recipes = [uv.method(name) for name in uv.METHODS]
    with tempfile.TemporaryDirectory() as folder, uv.Store.writer(folder) as store:
        began = time.perf_counter()
        train_all(recipes, store, crew=Crew(jobs), device=device)
        return time.perf_counter() - began


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
    print("| method | seeds | model-epochs/s, median (min–max) |\n| --- | --- | --- |")
    with reproducible_process():
        for method in ("baseline", "4a"):
            for seeds in SEEDS:
                speeds = [seeds / taken for taken in epoch_seconds(method, seeds, options.rounds, device)]
                spread = f"{statistics.median(speeds):.0f} ({min(speeds):.0f}–{max(speeds):.0f})"
                print(f"| {method} | {seeds} | {spread} |", flush=True)
    if not options.skip_study:
        print(f"\nThe published study: {study_seconds(device, options.jobs):.0f} s")


if __name__ == "__main__":
    main()
