"""The private memory of each worker process of a study: what it has for itself.

Not the data and the libraries, which are files that all map: when the other workers have ended, their pages
count as the last one's private ones, too, but as clean ones.

python benchmarks/memory.py
"""

import os
import re
import tempfile
from pathlib import Path

import torch

import unvanish as uv
from unvanish.store.events import Event
from unvanish.study.executors.pool import WorkerPool
from unvanish.study.scheduler import train_all


def private_mb(pid: int) -> float:
    """Private dirty pages, in MB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(r"Private_Dirty:\s+(\d+) kB", rollup)) / 1024


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    recipes = [uv.method(name, epochs=3, seed=seed) for name in ("4a-affine", "3") for seed in range(2 * cores)]
    print("| workers | runs | private MB of a worker, largest seen |\n| --- | --- | --- |")
    for workers in range(1, cores + 1):
        pool, most = WorkerPool(workers), 0.0

        def look(event: Event, pool: WorkerPool = pool) -> None:
            nonlocal most
            if event.kind == "epoch":
                most = max(most, *(private_mb(worker.process.pid) for worker in pool.workers))

        runs = recipes[: 2 * workers]
        with tempfile.TemporaryDirectory() as folder, uv.Store.writer(folder) as store:
            train_all(runs, store, executor=pool, device=torch.device("cpu"), listen=look)
        print(f"| {workers} | {len(runs)} | {most:.0f} |", flush=True)


if __name__ == "__main__":
    main()
