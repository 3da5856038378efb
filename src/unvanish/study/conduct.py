"""A study from its beginning to its end: what is wanted is trained, until nothing is."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from unvanish.core.machine import usable_cores
from unvanish.core.recipe import Recipe
from unvanish.store.protocol import RunStore
from unvanish.store.store import Store
from unvanish.study.executors.pool import WorkerPool
from unvanish.study.executors.protocol import Executor
from unvanish.study.jobs import Wanted
from unvanish.study.plan.known import InStore
from unvanish.study.plan.room import Room
from unvanish.study.plan.study import Study
from unvanish.study.plan.tried import tried
from unvanish.study.plan.wanted import wanted
from unvanish.study.scheduler import train_all
from unvanish.study.stream import Listener
from unvanish.study.training import check_data
from unvanish.train.process import device_named

log = logging.getLogger("unvanish")


def run_study(study: Study, store: str | Path, *, jobs: int | None = None, device: str | None = None) -> InStore:
    """Run a study in worker processes of this machine: what `unvanish study run` does, without its report.

    store   a folder, or the URL of a database
    jobs    worker processes, one for each core without it

    Gives what is known in the end: called with a recipe, its `Outcome`. Shows nothing; `write_study_report` writes the
    report. Its processes import nothing of the script that calls it.
    """
    where = device_named(device)
    with Store.writer(store) as kept, WorkerPool(jobs or usable_cores()) as pool:
        return conduct(study, kept, executor=pool, device=where)


def conduct(
    study: Study,
    store: RunStore,
    *,
    executor: Executor,
    device: torch.device,
    restart_damaged: bool = False,
    measure_every: int | None = None,
    listen: Listener = lambda event: None,
    hear_of: Callable[[Sequence[Recipe]], None] = lambda recipes: None,
) -> InStore:
    """Train what a study wants and the store does not have; gives what is known in the end.

    hear_of   told of recipes before the first event of any of them

    What comes next is asked again after each training, from what is in the store alone: so a study that is stopped in
    any manner goes on where it was, and one that has grown trains what is new. A run that has failed is tried again in
    the next call.
    """
    known = InStore(store).without_failed()
    room = Room(study, known)
    if restart_damaged:
        known.find_damaged(recipe for _, _, recipe in tried(study, known))

    def told() -> list[Wanted]:
        found = room.of(wanted(study, known))
        hear_of([one.recipe for one in found])
        return found

    def more(digest: str) -> list[Wanted]:
        known.read_again(digest)
        return told()

    first = told()
    check_data(one.recipe for one in first)
    train_all(
        first,
        store,
        executor=executor,
        device=device,
        restart_damaged=restart_damaged,
        measure_every=measure_every,
        listen=listen,
        more=more if study.goes_by_results else None,
        minutes=study.budget.minutes,
        keep_weights=study.keep_weights,
    )
    if room.left_out:  # once, after the trainings: a search asks after each
        log.warning("%s ends here: its budget of %s runs is used up", study.name, f"{study.budget.runs:,}")
    return InStore(store)
