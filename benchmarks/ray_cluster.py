"""A study on a Ray cluster beside the same study by local workers: its pace, and what is left after kills.

python benchmarks/ray_cluster.py pace               two workers here, then two on the cluster, ten minutes each
python benchmarks/ray_cluster.py pace --minutes 1 --rounds 2
python benchmarks/ray_cluster.py kills 20           a worker, a node other than the head or the driver, at random

Both start a cluster of two nodes on this machine, of one CPU each. On any other, the results say so.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch

import unvanish as uv
from ray_nodes import TwoNodes
from unvanish.store.verify import damages
from unvanish.study.executors.cluster import RayCluster
from unvanish.study.executors.pool import WorkerPool
from unvanish.study.scheduler import train_all
from unvanish.train.environment import environment
from unvanish.train.process import reproducible_process

CPU = torch.device("cpu")
RUNS = 4  # two for each worker
SHORT = {"hidden": (64, 64), "epochs": 100}  # about 20 s for two runs on two cores
MOMENTS_S = (2.0, 18.0)  # after its start, a study is disturbed
KINDS = ("worker", "node", "driver")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    of_pace = parts.add_parser("pace")
    of_pace.add_argument("--minutes", type=float, default=10.0, help="of each study")
    of_pace.add_argument("--rounds", type=int, default=1, help="of one locally and one on the cluster")
    of_kills = parts.add_parser("kills")
    of_kills.add_argument("count", type=int)
    of_kills.add_argument("--seed", type=int, default=0)
    study = parts.add_parser("study")  # what `kills` starts as the driver
    study.add_argument("address")
    study.add_argument("store", type=Path)
    asked = parser.parse_args()
    if asked.part == "study":
        train(_short(), asked.store, RayCluster(2, asked.address))
        return
    facts = environment(CPU)
    print(f"{facts['processor']}, {facts['cores']} cores, torch {facts['torch']}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # the nodes end with it
    with TwoNodes() as nodes:
        os.environ |= nodes.environment
        if asked.part == "pace":
            pace(nodes, asked.minutes, asked.rounds)
        else:
            kills(nodes, asked.count, random.Random(asked.seed))


def train(recipes: list[uv.Recipe], store: Path, executor: WorkerPool | RayCluster) -> None:
    with uv.Store.writer(store) as kept:
        train_all(recipes, kept, executor=executor, device=CPU)


def pace(nodes: TwoNodes, minutes: float, rounds: int) -> None:
    epochs = _epochs_of(minutes)
    recipes = [uv.baseline(epochs=epochs, seed=seed) for seed in range(RUNS)]
    print(f"{RUNS} runs of the published network, {epochs} epochs each", flush=True)
    ratios = []
    for turn in range(rounds):
        here = _timed(recipes, lambda: WorkerPool(2))
        there = _timed(recipes, lambda: RayCluster(2, nodes.address))
        ratios.append(there / here)
        print(f"round {turn + 1}: local {here:.1f} s, Ray {there:.1f} s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"ratio: median {median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


def _timed(recipes: list[uv.Recipe], executor: Callable[[], WorkerPool | RayCluster]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        train(recipes, Path(folder), executor())
        return time.monotonic() - began


def _epochs_of(minutes: float) -> int:
    """So that two local workers take about so long."""
    with tempfile.TemporaryDirectory() as folder:
        short = [uv.baseline(epochs=8, seed=seed) for seed in range(2)]
        train(short, Path(folder), WorkerPool(2))
        store = uv.Store.reader(Path(folder))
        epoch_s = median(row.seconds for recipe in short for row in store.record(recipe.digest()).epochs)
    return max(1, round(minutes * 60 / (epoch_s * RUNS / 2)))


def _short() -> list[uv.Recipe]:
    return [uv.baseline(**SHORT, seed=seed) for seed in (1, 2)]


def kills(nodes: TwoNodes, count: int, dice: random.Random) -> None:
    """Studies, each disturbed at random moments until it ends, until there were so many kills."""
    with reproducible_process():
        undisturbed = {recipe.digest(): table(uv.run(recipe)) for recipe in _short()}
    done, total, differing = [], Counter(), 0
    print("study  kills, with the second at which each came                    table", flush=True)
    while len(done) < count:
        with tempfile.TemporaryDirectory() as folder:
            here = _disturbed(Path(folder), nodes, dice, count - len(done))
            store = uv.Store.reader(Path(folder))
            found = {digest: table(store.record(digest)) for digest in undisturbed}
            wrong = list(damages(store)) or [
                f"run {digest[:8]}: {name} ({found[digest]['outcome']})"
                for digest, expected in undisturbed.items()
                for name in expected
                if found[digest][name] != expected[name]
            ]
        done += here
        total += Counter(kind for kind, _ in here)
        differing += bool(wrong)
        said = ", ".join(f"{kind} {at:.1f}" for kind, at in here)
        print(f"       {said:<66} {'; '.join(map(str, wrong)) or 'identical'}", flush=True)
    print(f"{len(done)} kills ({', '.join(f'{total[kind]} {kind}' for kind in KINDS)}), {differing} tables that differ")
    sys.exit(differing > 0)


def _disturbed(store: Path, nodes: TwoNodes, dice: random.Random, most: int) -> list[tuple[str, float]]:
    """One study to its end; the kills and when they came."""
    happened: list[tuple[str, float]] = []
    began = time.monotonic()
    process = _start(store, nodes)
    while True:
        if len(happened) == most:
            code = process.wait()
        else:
            with suppress(subprocess.TimeoutExpired):
                process.wait(dice.uniform(*MOMENTS_S))
            code = process.poll()
        if code is not None:
            if code:
                raise RuntimeError(f"the driver ended with exit code {code}")
            return happened
        kind = dice.choice(KINDS)
        if kind == "worker" and (actors := nodes.actors()):
            os.kill(dice.choice(actors), signal.SIGKILL)
        elif kind == "node":
            nodes.kill("second")
            time.sleep(dice.uniform(0, 3))
            nodes.start("second")
        elif kind == "driver":
            process.kill()
            process.wait()
            process = _start(store, nodes)
        else:
            continue
        happened.append((kind, time.monotonic() - began))


def _start(store: Path, nodes: TwoNodes) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "study", nodes.address, str(store)])


def table(record: uv.Record) -> dict[str, Any]:
    """Everything that was measured, times apart; NaN equals itself as a text."""
    columns = ("stage", "epoch", "train_loss", "train_acc", "val_loss", "val_acc")
    curve = {name: list(record.curve[name]) for name in columns}
    series = {name: (str(s.steps), s.values.tobytes()) for name, s in record.series.items()}
    weights = {name: weight.numpy().tobytes() for name, weight in (record.weights or {}).items()}
    outcome = f"{record.outcome.state} {record.outcome.error or ''}".strip()
    return {"outcome": outcome, "curve": str(curve), "series": series, "weights": weights}


if __name__ == "__main__":
    main()
