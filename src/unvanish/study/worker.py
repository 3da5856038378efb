"""A worker process: takes recipes from its parent, trains them, sends back what is to be kept.

It writes nothing to disk. When its parent goes away, in whatever manner, it ends at the latest after
the present epoch.
"""

import gc
import itertools
import os
import select
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from unvanish.core.errors import UnvanishError
from unvanish.core.recipe import Recipe
from unvanish.core.serialisation import pack, unpack
from unvanish.data.images import DataSet
from unvanish.data.known import data_named
from unvanish.data.messages import data_in_file
from unvanish.store.chunk import Chunk
from unvanish.study.frames import receive, send
from unvanish.study.training import training_together
from unvanish.train.process import reproducible_process


def main() -> None:
    results = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not get between the messages
    jobs = os.fdopen(0, "rb", buffering=0)

    def send_back(message: bytes) -> None:
        try:
            send(results, message)
        except BrokenPipeError:
            os._exit(0)  # the parent is gone

    leave_the_compiler_out()
    known: dict[str, DataSet] = {}
    with reproducible_process():
        while (job := receive(jobs)) is not None:
            meta, tensors = unpack(job)
            try:
                name, file = meta["data"], meta["data_file"]
                data = known[name] = known.get(name) or (data_in_file(file, name) if file else data_named(name))
            except UnvanishError as error:
                sys.exit(str(error))
            for message in do(meta, tensors, data, stop_of(meta["epochs"], _told_to_stop)):
                send_back(message)


def leave_the_compiler_out() -> None:
    """Make an optimizer without importing torch.compile, which takes as long as torch itself: nothing is compiled here.

    torch wraps an optimizer's methods so that the compiler, were it used, would leave them alone, and imports it for
    that when the first of them is called; what the wrapper finds here it takes for that already done.
    """
    for name in dir(torch.optim.Optimizer):
        wrapped = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if wrapped is not None:
            wrapped.__dynamo_disable = wrapped


def stop_of(epochs: int | None, told_to_stop: Callable[[], bool]) -> Callable[[], bool]:
    """Asked once after each epoch: whether the job's epochs are done, or there is to be an end."""
    count = itertools.count(1)
    return lambda: next(count) == epochs or told_to_stop()


def do(
    meta: dict[str, Any],
    tensors: Mapping[str, Tensor],
    data: DataSet,
    stop: Callable[[], bool],
) -> Iterator[bytes]:
    """Train the recipes of a job: each epoch and chunk as a message; what goes wrong ends the run, not the worker."""
    recipes = [Recipe.model_validate(recipe) for recipe in meta["recipes"]]
    checkpoints = [
        tensors[str(index)].numpy().tobytes() if str(index) in tensors else None for index in range(len(recipes))
    ]
    try:
        for run, item in training_together(
            recipes, data, torch.device(meta["device"]), checkpoints, stop, meta["measure_every"]
        ):
            if isinstance(item, Chunk):
                yield (item if meta["keep_weights"] else replace(item, weights=None)).pack(run=run)
            else:
                yield pack({"about": "epoch", "run": run, "epoch": asdict(item)})
    except Exception as error:  # whatever it is, it ends this run, not the study
        traceback.print_exc()
        if len(recipes) > 1:  # each by itself will tell which is at fault, if any is
            yield pack({"about": "apart", "too_large": out_of_memory(error)})
        else:
            yield Chunk("failed", error=f"{type(error).__name__}: {error}").pack()
    give_memory_back()
    yield pack({"about": "free"})


def out_of_memory(error: Exception) -> bool:
    """Of a GPU or of the machine; PyTorch and CUDA's libraries say so in several ways."""
    told = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in str(error) for words in told)


def give_memory_back() -> None:
    """What PyTorch keeps of a GPU's memory for later would be missing to the other workers."""
    if torch.cuda.is_initialized():
        gc.collect()  # a graph that was recorded holds its memory until it is gone
        torch.cuda.empty_cache()


def _told_to_stop() -> bool:
    """The parent says nothing during a run, so anything to read is the end of its stream."""
    return bool(select.select([0], [], [], 0)[0])
