"""How long it takes until something happens: help, import, and the first training step of a command.

python benchmarks/startup.py [--rounds N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import unvanish as uv

UNVANISH = [sys.executable, "-m", "unvanish"]


def run(*words: str) -> float:
    """Seconds of a whole process."""
    began = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def first_step() -> float:
    """From the command to the first step: when the first epoch's line came, less what that epoch took."""
    with tempfile.TemporaryDirectory() as store:
        began = time.perf_counter()
        words = [*UNVANISH, "reproduce", "baseline", "--epochs", "1", "--store", store]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            process.stderr.readline()
            until_line = time.perf_counter() - began
            process.stderr.read()
        [row] = uv.Store.reader(Path(store)).record(uv.baseline(epochs=1).digest()).epochs
    return until_line - row.seconds


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=7)
    rounds = arguments.parse_args().rounds
    python = [sys.executable, "-c"]
    ways: dict[str, Callable[[], float]] = {
        "python -c pass": lambda: run(*python, "pass"),
        "python -c 'import unvanish'": lambda: run(*python, "import unvanish"),
        "python -c 'import torch'": lambda: run(*python, "import torch"),
        "unvanish --help": lambda: run(*UNVANISH, "--help"),
        "unvanish reproduce baseline: until the first training step": first_step,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(way())
    print(
        f"{len(os.sched_getaffinity(0))} cores, {rounds} rounds\n\n| what | seconds, median (min–max) |\n| --- | --- |"
    )
    for name, seconds in times.items():
        print(f"| `{name}` | {statistics.median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f}) |")


if __name__ == "__main__":
    main()
