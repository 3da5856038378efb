"""Train many recipes: what is trained next, by an executor's places; this process alone writes.

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
import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from unvanish.core.curve import Epoch
from unvanish.core.errors import ClaimLostError
from unvanish.core.recipe import Recipe
from unvanish.core.serialisation import unpack
from unvanish.store.chunk import Chunk
from unvanish.store.events import Event
from unvanish.store.protocol import Header, RunStore, Start
from unvanish.study.ensembles import Ensembles, usual_most
from unvanish.study.executors.protocol import Executor, Place
from unvanish.study.interrupts import CtrlC
from unvanish.study.jobs import BEGINNING, More, Queued, Wanted, job_of
from unvanish.study.preparing import Preparation
from unvanish.study.stream import Listener, Stream

GRACE_S = 20.0  # for the workers to finish their epoch after Ctrl-C
LOOK_EVERY_S = 1.0  # at what is trained elsewhere

log = logging.getLogger("unvanish")


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
    keep_weights: bool = True,
    listen: Listener = lambda event: None,
    more: More | None = None,
    minutes: float | None = None,
) -> None:
    """Bring every recipe to its end in the store. Events come as they happen, in this process and in the store.

    more     asked after each run that ends, or has come as far as it was wanted to: runs that are wanted then
    minutes  after so many each place finishes its epoch, and what is left stays unfinished
    keep_weights
             whether the store keeps the final weights of each run

    Up to `together` runs of one shape are trained as one ensemble: by default many on a GPU, one on a CPU. A run that
    is damaged in the store is refused, or with `restart_damaged` trained from its beginning.
    Raises `StoreError` where something cannot be kept, and lets `KeyboardInterrupt` through; both leave
    a store from which the same call goes on.
    """
    stream = Stream(store, listen)
    most = together or usual_most(device)
    with executor:  # its places are there already, and end whatever happens from here on
        if restart_damaged:
            store.forget_lost_runs()
        prepare = Preparation(
            store, device, stream, most, measure_every, executor.here, fresh, restart_damaged, keep_weights
        )
        scheduler = _Scheduler(prepare, store, executor, device, stream, more)
        scheduler.add([one if isinstance(one, Wanted) else Wanted(one) for one in recipes])
        try:
            scheduler.work(minutes)
        except KeyboardInterrupt:
            scheduler.stop()
            raise
        finally:
            stream.flush()


class _Scheduler:
    """The runs that wait for a place, those that have one, and what comes back from them."""

    def __init__(
        self,
        prepare: Preparation,
        store: RunStore,
        executor: Executor,
        device: torch.device,
        stream: Stream,
        more: More | None,
    ) -> None:
        self.prepare, self.store, self.executor = prepare, store, executor
        self.device, self.tell, self.more = device, stream.tell, more
        self.waiting: list[Queued] = []
        self.elsewhere: list[Queued] = []  # trained by other machines
        self.at: dict[Place, list[Queued]] = {worker: [] for worker in executor.workers}  # one run each, or an ensemble
        self.resting: list[Place] = []  # without a job, as long as others may bring more
        self.ended: set[str] = set()
        self.stopping = False
        self.looked_at = 0.0
        self.ensembles = Ensembles(prepare.most)
        self.ctrl_c = CtrlC()

    def add(self, wanted: Sequence[Wanted]) -> None:
        """Runs that are to be trained, if they are not on their way or have ended already."""
        queues = (self.waiting, self.elsewhere, *self.at.values())
        busy = {run.digest for runs in queues for run in runs if run.goes_on} | self.ended
        waiting, elsewhere, ended = self.prepare([one for one in wanted if one.recipe.digest() not in busy])
        self.waiting += waiting
        self.elsewhere += elsewhere
        self.ended.update(ended)
        if self.more is not None:
            for digest in ended:  # another machine was faster
                self.add(self.more(digest))

    def work(self, minutes: float | None) -> None:
        until = math.inf if minutes is None else time.monotonic() + 60 * minutes
        with self.ctrl_c.between_messages():
            for worker in list(self.executor.workers):
                self._next(worker)
            while (self.executor.workers or self.elsewhere) and (left := until - time.monotonic()) > 0:
                self._hear(min(left, LOOK_EVERY_S) if self.elsewhere else left)
                self._look_elsewhere()
            if self.executor.workers:
                self.stop(f"the {minutes:g} minutes of its budget are over")

    def stop(self, reason: str = "") -> None:
        """Let every worker finish its epoch, and keep it."""
        self.stopping = True
        self.tell(Event("stopping", data={"reason": reason}))
        for worker in self.executor.workers:
            worker.finish_soon()
        until = time.monotonic() + GRACE_S
        while self.executor.workers and time.monotonic() < until:
            self._hear(until - time.monotonic())

    def _next(self, worker: Place) -> None:
        """Give the worker the run with the most work left and those that go with it, all of them or a part."""
        self.at[worker] = []
        begun: list[tuple[Queued, Start]] = []
        while self.waiting and not begun and not self.stopping:
            longest = max(self.waiting, key=lambda run: run.work)
            begun = [(run, start) for run in self.ensembles.of(longest, self.waiting) if (start := self._begin(run))]
        if not begun:
            if self.more and not self.stopping and any(self.at.values()):
                self.resting.append(worker)
            else:
                worker.dismiss()
            return
        longest, first = begun[0]
        # a run that was begun with another schedule of measurements goes on with that, and without the others
        group = [pair for pair in begun if (pair[1].environment, pair[1].epochs) == (first.environment, first.epochs)]
        runs = [run for run, _ in group]
        self.waiting = [run for run in self.waiting if run not in runs]
        unfinished = 1 + len(self.waiting) + sum(map(bool, self.at.values()))
        tail = self.waiting and self.executor.places < unfinished < 2 * self.executor.places
        part = max(1, longest.epochs_left // 4) if tail else longest.epochs_left if longest.until else None
        self.at[worker] = runs
        for run in runs:
            run.at = BEGINNING
        file = self.executor.provide(longest.recipe.data)
        starts = [start for _, start in group]
        worker.give(job_of(runs, starts, self.device, part, file, keep_weights=self.prepare.keep_weights))

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
            run.ended = True
            self.ended.add(run.digest)
            self.tell(Event("known", run.digest))
            self._ask_for_more(run)
        else:
            run.fresh = False
            self.elsewhere.append(run)

    def _look_elsewhere(self) -> None:
        """Whether the other machines have finished their runs or are gone, when nothing else is to be done."""
        idle = not (self.waiting or self.stopping or time.monotonic() - self.looked_at < LOOK_EVERY_S)
        if not idle or not self.elsewhere:
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

    def _hear(self, timeout: float) -> None:
        with self.ctrl_c.may_come(heed=not self.stopping):
            ready = self.executor.ready(None if math.isinf(timeout) else timeout)
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
                run.reached((row.stage, row.epoch))
                self.tell(Event.epoch(run.digest, row))
            case "chunk":
                self._keep(self.at[worker][meta["run"]], Chunk.unpack(message))
            case "under":
                self._trained_under(worker, meta["environment"])
            case "apart":
                self.ensembles.take_apart(self.at[worker], too_large=meta["too_large"])
            case "free":  # they have ended, or it has trained the part that it was given
                came = self.at[worker]
                self._set_free([run for run in came if run.goes_on])
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
        run.deaths.clear()
        run.ended = chunk.state != "unfinished"
        run.done += len(chunk.rows)
        if run.ended:
            self._over(run, chunk)

    def _over(self, run: Queued, chunk: Chunk) -> None:
        self.ended.add(run.digest)
        self.tell(Event("ended", run.digest, {"state": chunk.state, "error": chunk.error}))
        self._ask_for_more(run)

    def _ask_for_more(self, run: Queued) -> None:
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

    def _lost(self, run: Queued, reason: str) -> None:
        """What becomes of a run whose worker has died."""
        run.shape = None  # so that it takes no others with it
        if run.lost or not run.died():
            self.tell(Event("died", run.digest, {"reason": reason}))
            self._set_free([run])
            return
        error = f"its worker died {len(run.deaths)} times without getting on ({reason})"
        self._keep(run, Chunk("failed", error=error))
