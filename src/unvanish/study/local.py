"""Train many recipes on this machine: one process a core, one thread each; the parent alone writes.

The runs with the most work left go first. Towards the end, when there are more runs than workers but not
two for each, a worker trains only a part of one and then takes the one with the most left again: so the
last runs end together, and no core waits for another (McNaughton 1959: with preemption, `p` machines need
no longer than the longest job or a `p`-th of all the work).

A worker that dies is replaced, and its recipe goes on from the last checkpoint. Ctrl-C lets the workers
finish their epoch, keeps it, and then ends.
"""

import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from unvanish.core.packing import pack, unpack
from unvanish.core.progress import Chunk
from unvanish.core.recipe import Recipe
from unvanish.core.record import Epoch
from unvanish.runner import MEASURE_EVERY, header
from unvanish.store.store import Start, Store
from unvanish.study.frames import receive, send

GRACE_S = 20.0  # for the workers to finish their epoch after Ctrl-C
TRIES = 3  # deaths of a worker over one recipe without any progress in between


@dataclass(frozen=True)
class Known:
    """The recipe has ended before; it is not trained again."""

    recipe: Recipe


@dataclass(frozen=True)
class Began:
    """The recipe is being trained, after so many epochs that were kept from before."""

    recipe: Recipe
    epochs_done: int


@dataclass(frozen=True)
class Went:
    """An epoch of the recipe is over."""

    recipe: Recipe
    row: Epoch


@dataclass(frozen=True)
class Ended:
    """The recipe's training has ended: "finished", "diverged" or "failed" (with the error)."""

    recipe: Recipe
    state: str
    error: str | None = None


@dataclass(frozen=True)
class Died:
    """A worker process died; its recipe will go on from its last checkpoint."""

    recipe: Recipe
    reason: str


@dataclass(frozen=True)
class Stopping:
    """Ctrl-C was pressed: each worker finishes its epoch."""


Event = Stopping | Known | Began | Went | Ended | Died


def train_all(
    recipes: Sequence[Recipe],
    store: Store,
    *,
    jobs: int,
    device: torch.device,
    fresh: bool = False,
    measure_every: int = MEASURE_EVERY,
    listen: Callable[[Event], None] = lambda event: None,
) -> None:
    """Bring every recipe to its end in the store. Events come as they happen, in the parent.

    Raises `StoreError` where something cannot be kept, and lets `KeyboardInterrupt` through; both leave
    a store from which the same call goes on.
    """
    waiting: list[_Run] = []
    different = {recipe.digest(): recipe for recipe in recipes}
    for recipe in different.values():
        start = store.begin(recipe, header(recipe, device, measure_every))
        if start.ended and not fresh:
            listen(Known(recipe))
        else:
            done = 0 if fresh else start.epochs
            waiting.append(_Run(recipe, sum(recipe.stage_epochs()) - done, fresh=fresh))
    team = _Team(waiting, store, _Orders(device, measure_every), listen)
    try:
        team.work(min(jobs, len(waiting)))
    except KeyboardInterrupt:
        team.stop()
        raise
    finally:
        team.kill()


@dataclass
class _Run:
    """A recipe on its way. `deaths` counts the workers that it cost since it last got on."""

    recipe: Recipe
    epochs_left: int
    fresh: bool = False  # what the store has of it is forgotten when it is begun, not before
    begun: bool = False
    ended: bool = False
    deaths: int = 0


@dataclass(frozen=True)
class _Orders:
    """What holds for every run of a study."""

    device: torch.device
    measure_every: int


class _Worker:
    """One worker process and the run that it is at."""

    def __init__(self) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the worker)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "unvanish.study.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            env=os.environ | threads,
            process_group=0,  # the terminal's Ctrl-C is the parent's affair
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.run: _Run | None = None

    def give(self, run: _Run, start: Start, device: torch.device, epochs: int | None) -> None:
        """Let it train the run to its end, or for so many epochs."""
        self.run = run
        job = {
            "recipe": run.recipe.model_dump(mode="json"),
            "device": str(device),
            "measure_every": start.environment["measure_every"],
            "epochs": epochs,
        }
        saved = start.checkpoint
        tensors = {"checkpoint": torch.frombuffer(bytearray(saved), dtype=torch.uint8)} if saved else {}
        with suppress(BrokenPipeError):  # it is dead: its other pipe says so too, and there it is dealt with
            send(self.stdin, pack(job, tensors))

    def dismiss(self) -> None:
        """No more work: it ends after the present epoch, or at once when it has nothing to do."""
        with suppress(BrokenPipeError):
            self.stdin.close()

    def last_words(self) -> str:
        """Waits for its end, closes what is open, and says how it ended."""
        code = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        for file in (self.errors, self.stdin, self.stdout):
            with suppress(BrokenPipeError):
                file.close()
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}: {lines[-1]}" if lines else how


class _Team:
    """The workers, the runs that wait for one, and what comes back from them."""

    def __init__(self, waiting: list[_Run], store: Store, orders: _Orders, listen: Callable[[Event], None]) -> None:
        self.waiting, self.store, self.orders, self.listen = waiting, store, orders, listen
        self.workers: list[_Worker] = []
        self.selector = selectors.DefaultSelector()
        self.places = 0
        self.stopping = False

    def work(self, places: int) -> None:
        self.places = places
        for _ in range(places):
            self._hire()
        while self.workers:
            self._hear(timeout=None)

    def stop(self) -> None:
        """Let every worker finish its epoch, and keep it."""
        self.stopping = True
        self.listen(Stopping())
        for worker in self.workers:
            worker.dismiss()
        until = time.monotonic() + GRACE_S
        while self.workers and time.monotonic() < until:
            self._hear(timeout=until - time.monotonic())

    def kill(self) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.last_words()
        self.selector.close()

    def _hire(self) -> None:
        worker = _Worker()
        self.workers.append(worker)
        self.selector.register(worker.stdout, selectors.EVENT_READ, worker)
        self._next(worker)

    def _next(self, worker: _Worker) -> None:
        """Give the worker the run with the most epochs left, all of them or a part."""
        worker.run = None
        if self.stopping or not self.waiting:
            worker.dismiss()
            return
        run = max(self.waiting, key=lambda run: run.epochs_left)
        self.waiting.remove(run)
        unfinished = 1 + len(self.waiting) + sum(other.run is not None for other in self.workers)
        tail = self.waiting and unfinished < 2 * self.places
        fresh = run.fresh and not run.begun
        about = header(run.recipe, self.orders.device, self.orders.measure_every)
        start = self.store.begin(run.recipe, about, fresh=fresh)
        if not run.begun:
            self.listen(Began(run.recipe, start.epochs))
            run.begun = True
        worker.give(run, start, self.orders.device, max(1, run.epochs_left // 4) if tail else None)

    def _hear(self, timeout: float | None) -> None:
        for key, _ in self.selector.select(timeout):
            worker: _Worker = key.data
            message = receive(worker.stdout)
            if message is None:
                self._gone(worker)
            else:
                self._take(worker, message)

    def _take(self, worker: _Worker, message: bytes) -> None:
        run = worker.run
        assert run is not None
        meta, _ = unpack(message)
        match meta["about"]:
            case "epoch":
                self.listen(Went(run.recipe, Epoch(**meta["epoch"])))
            case "chunk":
                chunk = Chunk.unpack(message)
                self.store.add(run.recipe.digest(), chunk)
                run.deaths, run.ended = 0, chunk.state != "unfinished"
                run.epochs_left -= len(chunk.rows)
                if run.ended:
                    self.listen(Ended(run.recipe, chunk.state, chunk.error))
            case "free":
                if not run.ended:  # it has trained the part that it was given
                    self.waiting.append(run)
                self._next(worker)

    def _gone(self, worker: _Worker) -> None:
        self.selector.unregister(worker.stdout)
        self.workers.remove(worker)
        reason = worker.last_words()
        if worker.run is not None and not worker.run.ended and not self.stopping:
            self._bury(worker.run, reason)
        if self.waiting and not self.stopping:
            self._hire()

    def _bury(self, run: _Run, reason: str) -> None:
        """What becomes of a run whose worker has died."""
        run.deaths += 1
        if run.deaths < TRIES:
            self.listen(Died(run.recipe, reason))
            self.waiting.append(run)
            return
        error = f"its worker died {TRIES} times without getting on ({reason})"
        self.store.add(run.recipe.digest(), Chunk("failed", error=error))
        self.listen(Ended(run.recipe, "failed", error))
