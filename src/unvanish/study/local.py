"""Train many recipes on this machine: one process a core, one thread each; the parent alone writes.

The longest recipes go first. A worker that dies is replaced, and its recipe goes on from the last
checkpoint. Ctrl-C lets the workers finish their epoch, keeps it, and then ends.
"""

import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from unvanish.core.packing import pack, unpack
from unvanish.core.progress import Chunk
from unvanish.core.recipe import Recipe
from unvanish.core.record import Epoch
from unvanish.runner import header
from unvanish.store.store import Store
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


Event = Known | Began | Went | Ended | Died


def train_all(
    recipes: Sequence[Recipe],
    store: Store,
    *,
    jobs: int,
    device: torch.device,
    fresh: bool = False,
    listen: Callable[[Event], None] = lambda event: None,
) -> None:
    """Bring every recipe to its end in the store. Events come as they happen, in the parent.

    Raises `StoreError` where something cannot be kept, and lets `KeyboardInterrupt` through; both leave
    a store from which the same call goes on.
    """
    queue: deque[Recipe] = deque()
    different = {recipe.digest(): recipe for recipe in recipes}
    for recipe in sorted(different.values(), key=lambda r: -sum(r.stage_epochs())):
        start = store.begin(recipe, header(recipe, device), fresh=fresh)
        if start.ended:
            listen(Known(recipe))
        else:
            queue.append(recipe)
    team = _Team(queue, store, device, listen)
    try:
        team.work(min(jobs, len(queue)))
    except KeyboardInterrupt:
        team.stop()
        raise
    finally:
        team.kill()


class _Worker:
    """One worker process and the recipe that it is at."""

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
        self.recipe: Recipe | None = None

    def give(self, recipe: Recipe, checkpoint: bytes | None, device: torch.device) -> None:
        tensors = {"checkpoint": torch.frombuffer(bytearray(checkpoint), dtype=torch.uint8)} if checkpoint else {}
        self.recipe = recipe
        with suppress(BrokenPipeError):  # it is dead: its other pipe says so too, and there it is dealt with
            send(self.stdin, pack({"recipe": recipe.model_dump(mode="json"), "device": str(device)}, tensors))

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
    """The workers, the queue that they take recipes from, and what comes back from them."""

    def __init__(
        self, queue: deque[Recipe], store: Store, device: torch.device, listen: Callable[[Event], None]
    ) -> None:
        self.queue, self.store, self.device, self.listen = queue, store, device, listen
        self.workers: list[_Worker] = []
        self.selector = selectors.DefaultSelector()
        self.deaths: dict[str, int] = {}

    def work(self, workers: int) -> None:
        for _ in range(workers):
            self._hire()
        while self.workers:
            self._hear(timeout=None)

    def stop(self) -> None:
        """Let every worker finish its epoch, and keep it."""
        self.queue.clear()
        for worker in self.workers:
            worker.dismiss()
        until = time.monotonic() + GRACE_S
        while self.workers and time.monotonic() < until:
            self._hear(timeout=until - time.monotonic(), replace=False)

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
        worker.recipe = None
        if not self.queue:
            worker.dismiss()
            return
        recipe = self.queue.popleft()
        start = self.store.begin(recipe, header(recipe, self.device))
        self.listen(Began(recipe, start.epochs))
        worker.give(recipe, start.checkpoint, self.device)

    def _hear(self, timeout: float | None, *, replace: bool = True) -> None:
        for key, _ in self.selector.select(timeout):
            worker: _Worker = key.data
            message = receive(worker.stdout)
            if message is None:
                self._gone(worker, replace)
            else:
                self._take(worker, message)

    def _take(self, worker: _Worker, message: bytes) -> None:
        recipe = worker.recipe
        assert recipe is not None
        meta, _ = unpack(message)
        if "epoch" in meta:
            self.listen(Went(recipe, Epoch(**meta["epoch"])))
            return
        chunk = Chunk.unpack(message)
        self.store.add(recipe.digest(), chunk)
        self.deaths.pop(recipe.digest(), None)
        if chunk.state != "unfinished":
            self.listen(Ended(recipe, chunk.state, chunk.error))
            self._next(worker)

    def _gone(self, worker: _Worker, replace: bool) -> None:
        self.selector.unregister(worker.stdout)
        self.workers.remove(worker)
        reason = worker.last_words()
        recipe = worker.recipe
        if recipe is None or not replace:
            return
        digest = recipe.digest()
        self.deaths[digest] = self.deaths.get(digest, 0) + 1
        if self.deaths[digest] < TRIES:
            self.listen(Died(recipe, reason))
            self.queue.appendleft(recipe)
        else:
            error = f"its worker died {TRIES} times without getting on ({reason})"
            self.store.add(digest, Chunk("failed", error=error))
            self.listen(Ended(recipe, "failed", error))
        if self.queue:
            self._hire()
