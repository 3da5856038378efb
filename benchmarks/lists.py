"""How soon the commands that list a store answer, the start of Python included: with 10,000 finished runs of 3 epochs.

PYTHONPATH=tests python benchmarks/lists.py                          200 methods of 50 seeds
PYTHONPATH=tests python benchmarks/lists.py --methods 5000 --seeds 2
"""

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from unittest.mock import patch

import unvanish as uv
from store import HEADER, chunk, seconds
from unvanish.store.writing import Writing
from unvanish.study.plan.study import Study

STUDY = """name = "many"
seeds = {seeds}
[base]
depth = 8
width = 8
samples = 512
epochs = 3
[axes]
lr = {rates}
"""


def fill(store: uv.Store, study: Study) -> None:
    """Accuracies are drawn from a normal distribution, another mean for each method: all statistics are needed."""
    draw = random.Random(0)
    ended = chunk(1, 3, ends=True)
    with patch("os.fsync"), store.backend.writing() as session:
        writing = Writing(session, store.backend.claims, store.backend.place)
        for number, cell in enumerate(study.cells):
            for one in study.recipes(cell):
                rows = tuple(replace(row, val_acc=draw.gauss(0.4 + number % 200 / 1000, 0.01)) for row in ended.rows)
                writing.begin(one.digest(), HEADER, fresh=False, claim=True, recipe=one.model_dump(mode="json"))
                writing.add(one.digest(), replace(ended, rows=rows))


def commands(folder: Path) -> Iterator[tuple[str, list[str]]]:
    store = ["--store", str(folder / "store")]
    yield "unvanish runs", ["-m", "unvanish", "runs", *store]
    yield "unvanish study status", ["-m", "unvanish", "study", "status", str(folder / "many.toml"), *store]
    yield "unvanish report", ["-m", "unvanish", "report", *store]
    yield "import torch", ["-c", "import torch"]


def run(words: list[str]) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    rates = [round(0.001 * (number + 1), 6) for number in range(asked.methods)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "many.toml").write_text(STUDY.format(seeds=list(range(asked.seeds)), rates=rates))
        with uv.Store.writer(folder / "store") as store:
            fill(store, Study.read(folder / "many.toml"))
        print(f"{asked.methods:,} methods, {asked.seeds} seeds\n\n| command | median (min–max) |\n| --- | --- |")
        for what, words in commands(folder):
            found = [seconds(run, words) for _ in range(asked.rounds)]
            print(f"| {what} | {median(found):.2f} s ({min(found):.2f}–{max(found):.2f}) |", flush=True)


if __name__ == "__main__":
    main()
