"""What a store costs: with 100 and with 10,000 finished runs, in a folder and in PostgreSQL; and 64 writers at once.

PYTHONPATH=tests python benchmarks/store.py [URL URL URL]   # of empty databases; without, it starts a server
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median
from unittest.mock import patch

import numpy as np
import torch

import unvanish as uv
from unvanish.core.curve import Epoch
from unvanish.core.serialisation import pack
from unvanish.core.table import Table
from unvanish.store.chunk import Chunk
from unvanish.store.protocol import Header
from unvanish.store.writing import Writing
from unvanish.train.environment import environment

SIZES = (100, 10_000)
WRITERS, ROWS, AT_ONCE = 64, 1000, 50
LAYERS = (*(f"hidden{number}" for number in range(1, 9)), "output")
HEADER = Header(environment(torch.device("cpu")) | {"step": "native", "measure_every": 1}, LAYERS)
BASE = uv.baseline(hidden=(8,) * 8, samples=512, epochs=3)
WEIGHTS = pack({}, {"w": torch.zeros(8)})


def recipe(seed: int, epochs: int = 3) -> uv.Recipe:
    return BASE.model_copy(update={"seed": seed, "epochs": epochs})


def chunk(first: int, last: int, *, ends: bool) -> Chunk:
    """Two quantities of nine layers."""
    steps = [(1, epoch) for epoch in range(first, last + 1)]
    rows = tuple(Epoch(*step, 0.5, 0.5, 0.5, 0.5, 0.1) for step in steps)
    values = {name: np.full((len(steps), len(LAYERS)), 0.5) for name in ("backward_rms", "update_ratio")}
    table = Table(LAYERS, tuple(steps), values, dict.fromkeys(LAYERS, 8))
    return Chunk("finished", rows, table, weights=WEIGHTS) if ends else Chunk("unfinished", rows, table, WEIGHTS)


def fill(store: uv.Store, count: int) -> None:
    """In one transaction and without waiting for the disk, since this is not what is measured."""
    with patch("os.fsync"), store.backend.writing() as session:
        writing = Writing(session, store.backend.claims, store.backend.place)
        for seed in range(count):
            one = recipe(seed)
            writing.begin(one.digest(), HEADER, fresh=False, claim=True, recipe=one.model_dump(mode="json"))
            writing.add(one.digest(), chunk(1, 3, ends=True))


def add(store: uv.Store, seed: int) -> None:
    """A run, begun and ended: two transactions."""
    one = recipe(10**6 + seed)
    store.begin(one, HEADER)
    store.add(one.digest(), chunk(1, 3, ends=True))


def seconds(work: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def medians(works: Sequence[Callable[[int], object]], times: int) -> list[float]:
    """Of each, in turn, so that what else the machine does counts for all alike."""
    found = [[seconds(work, number) for work in works] for number in range(times)]
    return [median(column) for column in zip(*found, strict=True)]


def measure(kind: str, places: Sequence[str]) -> None:
    """Stores of these two sizes, side by side."""
    with ExitStack() as open_until_the_end:
        stores = [open_until_the_end.enter_context(uv.Store.writer(where)) for where in places]
        for store, size in zip(stores, SIZES, strict=True):
            fill(store, size)
        adding = medians([partial(add, store) for store in stores], 40)
    readers = [uv.Store.reader(where) for where in places]
    table = (
        ("`summaries()`", medians([lambda _, reader=reader: reader.summaries() for reader in readers], 7)),
        ("open to write", medians([lambda _, where=where: opened(where) for where in places], 5)),
        ("add a run", adding),
    )
    for what, found in table:
        print(f"| {kind} | {what} | {' | '.join(f'{1000 * one:,.1f} ms' for one in found)} |", flush=True)


def opened(where: str) -> None:
    with uv.Store.writer(where):
        pass


def write_at_once(where: str) -> float:
    with uv.Store.writer(where):  # makes the tables
        pass

    def write(seed: int) -> None:
        one = recipe(seed, ROWS)
        with uv.Store.writer(where) as store:
            store.begin(one, HEADER)
            for first in range(1, ROWS, AT_ONCE):
                last = first + AT_ONCE - 1
                store.add(one.digest(), chunk(first, last, ends=last == ROWS))

    start = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    took = time.perf_counter() - start
    reader = uv.Store.reader(where)
    for seed in range(WRITERS):
        assert [row.epoch for row in reader.record(recipe(seed, ROWS).digest()).epochs] == list(range(1, ROWS + 1))
    return took


@contextmanager
def databases() -> Iterator[Callable[[], str]]:
    """What gives the URL of an empty database: of those that were named, or of a server of our own."""
    if len(sys.argv) > 1:
        named = iter(sys.argv[1:])
        yield lambda: next(named)
        return
    import postgres  # of the tests

    with postgres.server() as server:
        yield server.new_database


def main() -> None:
    print(f"| in | | {' | '.join(f'{size:,} runs' for size in SIZES)} |\n| --- | --- | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        measure("a folder", [f"{folder}/{size}" for size in SIZES])
    with databases() as new:
        measure("PostgreSQL", [new() for _ in SIZES])
        took = write_at_once(new())
    transactions = WRITERS * (1 + ROWS // AT_ONCE)
    print(f"\n{WRITERS} writers × {ROWS:,} epochs, {AT_ONCE} at once, into PostgreSQL: {took:.1f} s,")
    print(f"{WRITERS * ROWS / took:,.0f} epochs/s, {transactions / took:,.0f} transactions/s; none lost, none twice")


if __name__ == "__main__":
    main()
