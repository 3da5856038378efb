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
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from unvanish.core.packing import pack, unpack
from unvanish.core.progress import Chunk
from unvanish.core.recipe import Recipe
from unvanish.core.record import Epoch
from unvanish.runner import MEASURE_EVERY, header, shape_of_recipe
from unvanish.store.store import Start, Store
from unvanish.store.tables import Header
from unvanish.study.events import Began, Died, Ended, Event, Known, Stopping, Went
from unvanish.study.frames import receive, send

GRACE_S = 20.0  # for the workers to finish their epoch after Ctrl-C
TOGETHER = 256  # runs of one shape on a GPU: about 4 GB for the published networks
TRIES = 3  # deaths of a worker over one recipe without any progress in between


def train_all(
    recipes: Sequence[Recipe],
    store: Store,
    *,
    jobs: int,
    device: torch.device,
    fresh: bool = False,
    measure_every: int = MEASURE_EVERY,
    together: int | None = None,
    listen: Callable[[Event], None] = lambda event: None,
) -> None:
    """Bring every recipe to its end in the store. Events come as they happen, in the parent.

    Up to `together` runs of one shape are trained as one ensemble: by default many on a GPU, one on a CPU.
    Raises `StoreError` where something cannot be kept, and lets `KeyboardInterrupt` through; both leave
    a store from which the same call goes on.
    """
    most = together or (TOGETHER if device.type == "cuda" else 1)
    waiting: list[_Run] = []
    different = {recipe.digest(): recipe for recipe in recipes}
    shapes = {digest: shape_of_recipe(recipe) if most > 1 else None for digest, recipe in different.items()}
    alike = Counter(shapes.values())
    for digest, recipe in different.items():
        shape = shapes[digest]
        about = header(recipe, device, measure_every, ensemble=shape is not None and alike[shape] > 1)
        start = store.begin(recipe, about)
        if start.ended and not fresh:
            listen(Known(recipe))
        else:
            done = 0 if fresh else start.epochs
            waiting.append(_Run(recipe, about, shape, sum(recipe.stage_epochs()) - done, fresh=fresh))
    team = _Team(waiting, store, device, most, listen)
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
    about: Header
    shape: str | None  # of its ensemble, if it may be in one
    epochs_left: int
    fresh: bool = False  # what the store has of it is forgotten when it is begun, not before
    begun: bool = False
    ended: bool = False
    deaths: int = 0


class _Worker:
    """One worker process and the runs that it is at: one, or an ensemble."""

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
        self.runs: list[_Run] = []

    def give(self, runs: list[_Run], starts: list[Start], device: torch.device, epochs: int | None) -> None:
        """Let it train the runs together to their end, or for so many epochs."""
        self.runs = runs
        job = {
            "recipes": [run.recipe.model_dump(mode="json") for run in runs],
            "device": str(device),
            "measure_every": starts[0].environment["measure_every"],
            "epochs": epochs,
        }
        tensors = {
            str(index): torch.frombuffer(bytearray(start.checkpoint), dtype=torch.uint8)
            for index, start in enumerate(starts)
            if start.checkpoint
        }
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

    def __init__(
        self, waiting: list[_Run], store: Store, device: torch.device, most: int, listen: Callable[[Event], None]
    ) -> None:
        self.waiting, self.store, self.device, self.most, self.listen = waiting, store, device, most, listen
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
        """Give the worker the run with the most epochs left and those that go with it, all of them or a part."""
        worker.runs = []
        if self.stopping or not self.waiting:
            worker.dismiss()
            return
        longest = max(self.waiting, key=lambda run: run.epochs_left)
        begun = [(run, self._begin(run)) for run in self._alike(longest)]
        _, first = begun[0]
        # a run that was begun with another schedule of measurements goes on with that, and without the others
        group = [(run, start) for run, start in begun if start.environment == first.environment]
        runs = [run for run, _ in group]
        self.waiting = [run for run in self.waiting if run not in runs]
        unfinished = 1 + len(self.waiting) + sum(bool(other.runs) for other in self.workers)
        tail = self.waiting and unfinished < 2 * self.places
        part = max(1, longest.epochs_left // 4) if tail else None
        worker.give(runs, [start for _, start in group], self.device, part)

    def _alike(self, run: _Run) -> list[_Run]:
        """The run, and the waiting ones that can be trained with it as one ensemble."""
        others = [
            other
            for other in self.waiting
            if other is not run and run.shape and (other.shape, other.epochs_left) == (run.shape, run.epochs_left)
        ]
        return [run, *others][: self.most]

    def _begin(self, run: _Run) -> Start:
        start = self.store.begin(run.recipe, run.about, fresh=run.fresh and not run.begun)
        if not run.begun:
            self.listen(Began(run.recipe, start.epochs))
            run.begun = True
        return start

    def _hear(self, timeout: float | None) -> None:
        for key, _ in self.selector.select(timeout):
            worker: _Worker = key.data
            message = receive(worker.stdout)
            if message is None:
                self._gone(worker)
            else:
                self._take(worker, message)

    def _take(self, worker: _Worker, message: bytes) -> None:
        meta, _ = unpack(message)
        match meta["about"]:
            case "epoch":
                self.listen(Went(worker.runs[meta["run"]].recipe, Epoch(**meta["epoch"])))
            case "chunk":
                self._keep(worker.runs[meta["run"]], Chunk.unpack(message))
            case "free":  # they have ended, or it has trained the part that it was given
                self.waiting += [run for run in worker.runs if not run.ended]
                self._next(worker)

    def _keep(self, run: _Run, chunk: Chunk) -> None:
        self.store.add(run.recipe.digest(), chunk)
        run.deaths, run.ended = 0, chunk.state != "unfinished"
        run.epochs_left -= len(chunk.rows)
        if run.ended:
            self.listen(Ended(run.recipe, chunk.state, chunk.error))

    def _gone(self, worker: _Worker) -> None:
        self.selector.unregister(worker.stdout)
        self.workers.remove(worker)
        reason = worker.last_words()
        for run in worker.runs:
            if not run.ended and not self.stopping:
                self._bury(run, reason)
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
