"""Train many recipes: what is trained next, by an executor's places; of its machine this process alone writes.

The runs with the most work left go first. Towards the end, when there are more runs than places but not
two for each, a place trains only a part of one and then takes the one with the most left again: so the
last runs end together, and no core waits for another (McNaughton 1959: with preemption, `p` machines need
no longer than the longest job or a `p`-th of all the work).

A worker that dies is replaced, and its recipe goes on from the last checkpoint. Ctrl-C lets the workers
finish their epoch, keeps it, and then ends.

Several machines may train the same recipes into one database: each claims the runs that it gives to its
workers. A run that is claimed elsewhere is set aside. When nothing else waits it is looked at again and
again, until the other machine has finished it, or was not heard of for the time of a lease.
"""

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from unvanish.core.curve import Epoch
from unvanish.core.errors import ClaimLostError, DamagedError
from unvanish.core.recipe import Recipe
from unvanish.core.serialisation import unpack
from unvanish.store.chunk import Chunk
from unvanish.store.events import Event
from unvanish.store.protocol import ENDED, Header, RunStore, Start
from unvanish.study.executors.protocol import Executor, Place
from unvanish.study.jobs import Queued, job_of
from unvanish.study.stream import Listener, Stream
from unvanish.study.training import header, shape_of_recipe

GRACE_S = 20.0  # for the workers to finish their epoch after Ctrl-C
TOGETHER = 256  # runs of one shape on a GPU: more gained nothing on an H100 (docs/performance.md)
TRIES = 3  # deaths of a worker over one recipe without any progress in between
LOOK_EVERY_S = 1.0  # at what is trained elsewhere

log = logging.getLogger("unvanish")


def train_all(
    recipes: Sequence[Recipe],
    store: RunStore,
    *,
    executor: Executor,
    device: torch.device,
    fresh: bool = False,
    restart_damaged: bool = False,
    measure_every: int | None = None,
    together: int | None = None,
    listen: Listener = lambda event: None,
) -> None:
    """Bring every recipe to its end in the store. Events come as they happen, in this process and in the store.

    Up to `together` runs of one shape are trained as one ensemble: by default many on a GPU, one on a CPU. A run that
    is damaged in the store is refused, or with `restart_damaged` trained from its beginning.
    Raises `StoreError` where something cannot be kept, and lets `KeyboardInterrupt` through; both leave
    a store from which the same call goes on.
    """
    stream = Stream(store, listen)
    if restart_damaged:
        store.forget_lost_runs()
    most = together or (TOGETHER if device.type == "cuda" else 1)
    waiting, elsewhere = list[Queued](), list[Queued]()
    different = {recipe.digest(): recipe for recipe in recipes}
    shapes = {digest: shape_of_recipe(recipe) if most > 1 else None for digest, recipe in different.items()}
    ended = {run.digest for run in store.summaries() if run.outcome.state in ENDED} if most > 1 and not fresh else set()
    alike = Counter(shape for digest, shape in shapes.items() if digest not in ended)
    for digest, recipe in different.items():
        shape = shapes[digest]
        about = header(recipe, device, measure_every, ensemble=shape is not None and alike[shape] > 1)
        start = _standing(store, recipe, about, restart_damaged or fresh)
        if start.ended and not fresh:
            stream.tell(Event("known", digest))
        else:
            anew = fresh and not start.elsewhere
            run = Queued(
                recipe, digest, about, shape, sum(recipe.stage_epochs()), 0 if anew else start.epochs, fresh=anew
            )
            (elsewhere if start.elsewhere else waiting).append(run)
    with executor:
        scheduler = _Scheduler(waiting, elsewhere, store, executor, device, most, stream)
        try:
            scheduler.work()
        except KeyboardInterrupt:
            scheduler.stop()
            raise
        finally:
            stream.flush()


def _standing(store: RunStore, recipe: Recipe, about: Header, restart_damaged: bool) -> Start:
    """Where a run stands; with `restart_damaged` at its beginning, where what is kept of it is damaged."""
    try:
        return store.begin(recipe, about, claim=False)
    except DamagedError:
        if not restart_damaged:
            raise
        return store.begin(recipe, about, fresh=True, claim=False)


class _Scheduler:
    """The runs that wait for a place, those that have one, and what comes back from them."""

    def __init__(
        self,
        waiting: list[Queued],
        elsewhere: list[Queued],
        store: RunStore,
        executor: Executor,
        device: torch.device,
        most: int,
        stream: Stream,
    ) -> None:
        self.waiting, self.elsewhere = waiting, elsewhere
        self.store, self.executor = store, executor
        self.device, self.most, self.tell = device, most, stream.tell
        self.at: dict[Place, list[Queued]] = {worker: [] for worker in executor.workers}  # one run each, or an ensemble
        self.stopping = False
        self.looked_at = 0.0
        self.idle, self.stop_soon = False, False  # where Ctrl-C is concerned

    def work(self) -> None:
        with self._ctrl_c_between_messages():
            for worker in list(self.executor.workers):
                self._next(worker)
            while self.executor.workers or self.elsewhere:
                self._hear(timeout=LOOK_EVERY_S if self.elsewhere else None)
                self._look_elsewhere()

    @contextmanager
    def _ctrl_c_between_messages(self) -> Iterator[None]:
        """Ctrl-C waits until a message is dealt with: half of one, or a chunk that is not kept yet, would be lost."""
        before = signal.getsignal(signal.SIGINT)
        ours = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
        if ours:
            signal.signal(signal.SIGINT, self._interrupted)
        try:
            yield
        finally:
            if ours:
                signal.signal(signal.SIGINT, before)

    def _interrupted(self, *_: object) -> None:
        if self.idle:
            raise KeyboardInterrupt
        self.stop_soon = True

    def stop(self) -> None:
        """Let every worker finish its epoch, and keep it."""
        self.stopping = True
        self.tell(Event("stopping"))
        for worker in self.executor.workers:
            worker.finish_soon()
        until = time.monotonic() + GRACE_S
        while self.executor.workers and time.monotonic() < until:
            self._hear(timeout=until - time.monotonic())

    def _next(self, worker: Place) -> None:
        """Give the worker the run with the most epochs left and those that go with it, all of them or a part."""
        self.at[worker] = []
        begun: list[tuple[Queued, Start]] = []
        while self.waiting and not begun and not self.stopping:
            longest = max(self.waiting, key=lambda run: run.epochs_left)
            begun = [(run, start) for run in self._alike(longest) if (start := self._begin(run))]
        if not begun:
            worker.dismiss()
            return
        longest, first = begun[0]
        # a run that was begun with another schedule of measurements goes on with that, and without the others
        group = [
            (run, start)
            for run, start in begun
            if (start.environment, start.epochs) == (first.environment, first.epochs)
        ]
        runs = [run for run, _ in group]
        self.waiting = [run for run in self.waiting if run not in runs]
        unfinished = 1 + len(self.waiting) + sum(map(bool, self.at.values()))
        tail = self.waiting and self.executor.places < unfinished < 2 * self.executor.places
        part = max(1, longest.epochs_left // 4) if tail else None
        self.at[worker] = runs
        worker.give(job_of(runs, [start for _, start in group], self.device, part))

    def _alike(self, run: Queued) -> list[Queued]:
        """The run, and the waiting ones that can be trained with it as one ensemble."""
        others = [
            other
            for other in self.waiting
            if other is not run and run.shape and (other.shape, other.epochs_left) == (run.shape, run.epochs_left)
        ]
        return [run, *others][: self.most]

    def _begin(self, run: Queued) -> Start | None:
        """Where it starts; `None` if another machine trains it, or has finished it."""
        start = self.store.begin(run.recipe, run.about, fresh=run.fresh and not run.begun)
        if start.ended or start.elsewhere:
            self.waiting.remove(run)
            self._leave(run, start)
            return None
        run.done = start.epochs  # other machines may have trained it meanwhile
        if not run.begun:
            self.tell(Event("began", run.digest, {"epochs": start.epochs}))
            run.begun = True
        return start

    def _leave(self, run: Queued, start: Start) -> None:
        """To the other machine that trains it or has finished it."""
        if start.ended:
            self.tell(Event("known", run.digest))
        else:
            run.fresh = False
            self.elsewhere.append(run)

    def _look_elsewhere(self) -> None:
        """Whether the other machines have finished their runs or are gone, when nothing else is to be done."""
        if self.waiting or self.stopping or time.monotonic() - self.looked_at < LOOK_EVERY_S:
            return
        aside, self.elsewhere = self.elsewhere, []
        for run in aside:
            start = self.store.begin(run.recipe, run.about, claim=False)
            if start.ended or start.elsewhere:
                self._leave(run, start)
            else:
                run.done = start.epochs
                self.waiting.append(run)
        self.looked_at = time.monotonic()
        self._fill()

    def _hear(self, timeout: float | None) -> None:
        if self.stop_soon and not self.stopping:
            raise KeyboardInterrupt
        self.idle = True
        ready = self.executor.ready(timeout)
        self.idle = False
        for worker, message in self.executor.messages(ready):
            if message is None:
                self._gone(worker)
            else:
                self._take(worker, message)

    def _take(self, worker: Place, message: bytes) -> None:
        meta, _ = unpack(message)
        match meta["about"]:
            case "epoch":
                self.tell(Event.epoch(self.at[worker][meta["run"]].digest, Epoch(**meta["epoch"])))
            case "chunk":
                self._keep(self.at[worker][meta["run"]], Chunk.unpack(message))
            case "apart":  # they could not be trained together
                for run in self.at[worker]:
                    run.shape = None
            case "free":  # they have ended, or it has trained the part that it was given
                self._set_free([run for run in self.at[worker] if not run.ended])
                self._next(worker)
                self._fill()

    def _set_free(self, runs: list[Queued]) -> None:
        for run in runs:
            (self.elsewhere if run.lost else self.waiting).append(run)
            run.lost = False

    def _keep(self, run: Queued, chunk: Chunk) -> None:
        if run.lost:
            return
        try:
            self.store.add(run.digest, chunk)
        except ClaimLostError as error:
            log.warning("%s", error)
            run.lost = True
            return
        run.deaths, run.ended = 0, chunk.state != "unfinished"
        run.done += len(chunk.rows)
        if run.ended:
            self.tell(Event("ended", run.digest, {"state": chunk.state, "error": chunk.error}))

    def _gone(self, worker: Place) -> None:
        reason = self.executor.reap(worker)
        for run in self.at.pop(worker):
            if not run.ended and not self.stopping:
                self._lost(run, reason)
        self._fill()

    def _fill(self) -> None:
        """A worker for each place as long as runs wait: one has died, or an ensemble has fallen apart."""
        while self.waiting and not self.stopping and len(self.executor.workers) < self.executor.places:
            worker = self.executor.spawn()
            self._next(worker)

    def _lost(self, run: Queued, reason: str) -> None:
        """What becomes of a run whose worker has died."""
        run.deaths += not run.lost
        run.shape = None  # so that it takes no others with it
        if run.deaths < TRIES:
            self.tell(Event("died", run.digest, {"reason": reason}))
            self._set_free([run])
            return
        self._keep(run, Chunk("failed", error=f"its worker died {TRIES} times without getting on ({reason})"))
