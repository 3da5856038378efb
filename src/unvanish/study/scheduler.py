"""Train many recipes: what is trained next, by an executor's places; this process alone writes.

The runs with the most work left go first. Towards the end, when there are more runs than places but not
two for each, a place trains only a part of one and then takes the one with the most left again: so the
last runs end together, and no core waits for another (McNaughton 1959: with preemption, `p` machines need
no longer than the longest job or a `p`-th of all the work).

A worker that dies is replaced, and its recipe goes on from the last checkpoint. Ctrl-C lets the workers
finish their epoch, keeps it, and then ends.
"""

import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from unvanish.core.curve import Epoch
from unvanish.core.errors import DamagedError
from unvanish.core.recipe import Recipe
from unvanish.core.serialisation import pack, unpack
from unvanish.store.chunk import Chunk
from unvanish.store.events import Event
from unvanish.store.protocol import ENDED, Header, RunStore, Start
from unvanish.study.executors.protocol import Executor, Place
from unvanish.study.stream import Listener, Stream
from unvanish.study.training import header, shape_of_recipe

GRACE_S = 20.0  # for the workers to finish their epoch after Ctrl-C
TOGETHER = 256  # runs of one shape on a GPU: more gained nothing on an H100 (docs/performance.md)
TRIES = 3  # deaths of a worker over one recipe without any progress in between


class Wanted(NamedTuple):
    """A run to be trained: to its end, or until it has so many epochs in all."""

    recipe: Recipe
    epochs: int | None = None


More = Callable[[str], Sequence[Wanted]]  # what is wanted now that this run has ended, or come as far as it was wanted


def train_all(
    recipes: Sequence[Recipe | Wanted],
    store: RunStore,
    *,
    executor: Executor,
    device: torch.device,
    fresh: bool = False,
    restart_damaged: bool = False,
    measure_every: int | None = None,
    together: int | None = None,
    listen: Listener = lambda event: None,
    more: More | None = None,
    minutes: float | None = None,
) -> None:
    """Bring every recipe to its end in the store. Events come as they happen, in this process and in the store.

    more     asked after each run that ends, or has come as far as it was wanted to: runs that are wanted then
    minutes  after so many each place finishes its epoch, and what is left stays unfinished

    Up to `together` runs of one shape are trained as one ensemble: by default many on a GPU, one on a CPU. A run that
    is damaged in the store is refused, or with `restart_damaged` trained from its beginning.
    Raises `StoreError` where something cannot be kept, and lets `KeyboardInterrupt` through; both leave
    a store from which the same call goes on.
    """
    stream = Stream(store, listen)
    if restart_damaged:
        store.forget_lost_runs()
    most = together or (TOGETHER if device.type == "cuda" else 1)

    def prepared(wanted: Sequence[Wanted]) -> list[_Run]:
        """Those that have not ended in the store."""
        different = {one.recipe.digest(): one for one in wanted}
        shapes = {digest: shape_of_recipe(one.recipe) if most > 1 else None for digest, one in different.items()}
        known = store.summaries() if most > 1 and not fresh else []
        ended = {run.digest for run in known if run.outcome.state in ENDED}
        alike = Counter(shape for digest, shape in shapes.items() if digest not in ended)
        found = []
        for digest, (recipe, until) in different.items():
            shape = shapes[digest]
            ensemble = shape is not None and alike[shape] > 1
            about = header(recipe, device, measure_every, ensemble=ensemble, here=executor.here)
            start = _standing(store, recipe, about, restart_damaged or fresh)
            if start.ended and not fresh:
                stream.tell(Event("known", digest))
            else:
                total = sum(recipe.stage_epochs())
                until = until if until and until < total else None
                left = (until or total) - (0 if fresh else start.epochs)
                found.append(_Run(recipe, digest, about, shape, left, until, fresh=fresh))
        return found

    with executor:
        scheduler = _Scheduler(prepared, store, executor, device, most, stream, more)
        scheduler.add([one if isinstance(one, Wanted) else Wanted(one) for one in recipes])
        try:
            scheduler.work(minutes)
        except KeyboardInterrupt:
            scheduler.stop()
            raise
        finally:
            stream.flush()


def _standing(store: RunStore, recipe: Recipe, about: Header, restart_damaged: bool) -> Start:
    """Where a run stands; with `restart_damaged` at its beginning, where what is kept of it is damaged."""
    try:
        return store.begin(recipe, about)
    except DamagedError:
        if not restart_damaged:
            raise
        return store.begin(recipe, about, fresh=True)


@dataclass
class _Run:
    """A recipe on its way. `deaths` counts the workers that it cost since it last got on.

    It gets on with each epoch that it never reached before: what a recipe does to a worker, it does at the same place
    each time; three workers that are killed before the first checkpoint, at any others, say nothing about it.
    """

    recipe: Recipe
    digest: str
    about: Header
    shape: str | None  # of its ensemble, if it may be in one
    epochs_left: int
    until: int | None = None  # epochs in all, after which it waits to be wanted again
    fresh: bool = False  # what the store has of it is forgotten when it is begun, not before
    begun: bool = False
    ended: bool = False
    deaths: int = 0
    furthest: tuple[int, int] = (-1, -1)  # stage and epoch

    @property
    def goes_on(self) -> bool:
        return not self.ended and (self.until is None or self.epochs_left > 0)

    @property
    def alike(self) -> tuple[Any, ...]:
        """The same of runs that can be trained as one ensemble."""
        return self.shape, self.epochs_left, self.until


class _Scheduler:
    """The runs that wait for a place, those that have one, and what comes back from them."""

    def __init__(
        self,
        prepared: Callable[[Sequence[Wanted]], list[_Run]],
        store: RunStore,
        executor: Executor,
        device: torch.device,
        most: int,
        stream: Stream,
        more: More | None,
    ) -> None:
        self.prepared, self.store, self.executor = prepared, store, executor
        self.device, self.most, self.tell, self.more = device, most, stream.tell, more
        self.waiting: list[_Run] = []
        self.at: dict[Place, list[_Run]] = {worker: [] for worker in executor.workers}  # one run each, or an ensemble
        self.resting: list[Place] = []  # without a job, as long as others may bring more
        self.ended: set[str] = set()
        self.stopping = False
        self.idle, self.stop_soon = False, False  # where Ctrl-C is concerned

    def add(self, wanted: Sequence[Wanted]) -> None:
        """Runs that are to be trained, if they are not on their way or have ended already."""
        busy = {run.digest for runs in (self.waiting, *self.at.values()) for run in runs if run.goes_on} | self.ended
        self.waiting += self.prepared([one for one in wanted if one.recipe.digest() not in busy])

    def work(self, minutes: float | None) -> None:
        until = math.inf if minutes is None else time.monotonic() + 60 * minutes
        with self._ctrl_c_between_messages():
            for worker in list(self.executor.workers):
                self._next(worker)
            while self.executor.workers and time.monotonic() < until:
                self._hear(timeout=None if minutes is None else max(0.0, until - time.monotonic()))
            if self.executor.workers:
                self.stop(f"the {minutes:g} minutes of its budget are over")

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

    def stop(self, reason: str = "") -> None:
        """Let every worker finish its epoch, and keep it."""
        self.stopping = True
        self.tell(Event("stopping", data={"reason": reason}))
        for worker in self.executor.workers:
            worker.finish_soon()
        until = time.monotonic() + GRACE_S
        while self.executor.workers and time.monotonic() < until:
            self._hear(timeout=until - time.monotonic())

    def _next(self, worker: Place) -> None:
        """Give the worker the run with the most epochs left and those that go with it, all of them or a part."""
        self.at[worker] = []
        if self.stopping or not self.waiting:
            if self.more and not self.stopping and any(self.at.values()):
                self.resting.append(worker)
            else:
                worker.dismiss()
            return
        longest = max(self.waiting, key=lambda run: run.epochs_left)
        begun = [(run, self._begin(run)) for run in self._alike(longest)]
        _, first = begun[0]
        # a run that was begun with another schedule of measurements goes on with that, and without the others
        group = [(run, start) for run, start in begun if start.environment == first.environment]
        runs = [run for run, _ in group]
        self.waiting = [run for run in self.waiting if run not in runs]
        unfinished = 1 + len(self.waiting) + sum(map(bool, self.at.values()))
        tail = self.waiting and self.executor.places < unfinished < 2 * self.executor.places
        part = max(1, longest.epochs_left // 4) if tail else longest.epochs_left if longest.until else None
        self.at[worker] = runs
        file = self.executor.provide(longest.recipe.data)
        worker.give(_job(runs, [start for _, start in group], self.device, part, file))

    def _alike(self, run: _Run) -> list[_Run]:
        """The run, and the waiting ones that can be trained with it as one ensemble."""
        others = [other for other in self.waiting if other is not run and run.shape and other.alike == run.alike]
        return [run, *others][: self.most]

    def _begin(self, run: _Run) -> Start:
        start = self.store.begin(run.recipe, run.about, fresh=run.fresh and not run.begun)
        if not run.begun:
            self.tell(Event("began", run.digest, {"epochs": start.epochs}))
            run.begun = True
        return start

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
                run, row = self.at[worker][meta["run"]], Epoch(**meta["epoch"])
                if (row.stage, row.epoch) > run.furthest:
                    run.furthest, run.deaths = (row.stage, row.epoch), 0
                self.tell(Event.epoch(run.digest, row))
            case "chunk":
                self._keep(self.at[worker][meta["run"]], Chunk.unpack(message))
            case "under":
                self._trained_under(worker, meta["environment"])
            case "apart":  # they could not be trained together
                for run in self.at[worker]:
                    run.shape = None
            case "free":  # they have ended, or it has trained the part that it was given
                came = self.at[worker]
                self.waiting += [run for run in came if run.goes_on]
                self._next(worker)
                for run in came:
                    if not run.ended and not run.goes_on:
                        self._ask_for_more(run)
                self._fill()

    def _trained_under(self, worker: Place, environment: dict[str, Any]) -> None:
        """Elsewhere than here, what runs are trained under is known when they are, before their first chunk."""
        for run in self.at[worker]:
            if run.about.environment != environment:
                run.about = Header(environment, run.about.layers)
                self.store.begin(run.recipe, run.about)

    def _keep(self, run: _Run, chunk: Chunk) -> None:
        self.store.add(run.digest, chunk)
        run.deaths, run.ended = 0, chunk.state != "unfinished"
        run.epochs_left -= len(chunk.rows)
        if run.ended:
            self._over(run, chunk)

    def _over(self, run: _Run, chunk: Chunk) -> None:
        self.ended.add(run.digest)
        self.tell(Event("ended", run.digest, {"state": chunk.state, "error": chunk.error}))
        self._ask_for_more(run)

    def _ask_for_more(self, run: _Run) -> None:
        if self.more is not None and not self.stopping:
            self.add(self.more(run.digest))

    def _gone(self, worker: Place) -> None:
        reason = self.executor.reap(worker)
        self.resting = [place for place in self.resting if place is not worker]
        for run in self.at.pop(worker):
            if not run.ended and not self.stopping:
                self._lost(run, reason)
        self._fill()

    def _fill(self) -> None:
        """A worker for each place as long as runs wait: one has died, or more came; none where nothing can come."""
        while self.resting and (self.waiting or self.stopping or not any(self.at.values())):
            self._next(self.resting.pop())
        while self.waiting and not self.stopping and len(self.executor.workers) < self.executor.places:
            worker = self.executor.spawn()
            self._next(worker)

    def _lost(self, run: _Run, reason: str) -> None:
        """What becomes of a run whose worker has died."""
        run.deaths += 1
        run.shape = None  # so that it takes no others with it
        if run.deaths < TRIES:
            self.tell(Event("died", run.digest, {"reason": reason}))
            self.waiting.append(run)
            return
        chunk = Chunk("failed", error=f"its worker died {TRIES} times without getting on ({reason})")
        self.store.add(run.digest, chunk)
        self._over(run, chunk)


def _job(
    runs: list[_Run], starts: list[Start], device: torch.device, epochs: int | None, data_file: str | None
) -> bytes:
    """To train the runs together to their end, or for so many epochs."""
    meta = {
        "data": runs[0].recipe.data,
        "data_file": data_file,
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
    return pack(meta, tensors)
