"""A worker process: takes recipes from its parent, trains them, sends back what is to be kept.

It writes nothing to disk. When its parent goes away, in whatever manner, it ends at the latest after
the present epoch.
"""

import itertools
import os
import select
import sys
import traceback
from dataclasses import asdict

import torch

from unvanish.core.errors import UnvanishError
from unvanish.core.recipe import Recipe
from unvanish.core.serialisation import pack, unpack
from unvanish.data.fashion_mnist import FashionMNIST, fashion_mnist
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

    _leave_the_compiler_out()
    data: FashionMNIST | None = None
    with reproducible_process():
        while (job := receive(jobs)) is not None:
            try:
                data = data or fashion_mnist()
            except UnvanishError as error:
                sys.exit(str(error))
            _do(job, data, send_back)
            send_back(pack({"about": "free"}))


def _leave_the_compiler_out() -> None:
    """Make an optimizer without importing torch.compile, which takes as long as torch itself: nothing is compiled here.

    torch wraps an optimizer's methods so that the compiler, were it used, would leave them alone, and imports it for
    that when the first of them is called; what the wrapper finds here it takes for that already done.
    """
    for name in dir(torch.optim.Optimizer):
        wrapped = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if wrapped is not None:
            wrapped.__dynamo_disable = wrapped


def _do(job: bytes, data: FashionMNIST, send_back) -> None:
    meta, tensors = unpack(job)
    recipes = [Recipe.model_validate(recipe) for recipe in meta["recipes"]]
    checkpoints = [
        tensors[str(index)].numpy().tobytes() if str(index) in tensors else None for index in range(len(recipes))
    ]
    count = itertools.count(1)

    def stop() -> bool:  # asked once after each epoch
        return next(count) == meta["epochs"] or _told_to_stop()

    try:
        for run, item in training_together(
            recipes, data, torch.device(meta["device"]), checkpoints, stop, meta["measure_every"]
        ):
            if isinstance(item, Chunk):
                send_back(item.pack(run=run))
            else:
                send_back(pack({"about": "epoch", "run": run, "epoch": asdict(item)}))
    except Exception as error:  # whatever it is, it ends this run, not the study
        traceback.print_exc()
        if len(recipes) > 1:  # each by itself will tell which is at fault, if any is
            send_back(pack({"about": "apart"}))
        else:
            send_back(Chunk("failed", error=f"{type(error).__name__}: {error}").pack())


def _told_to_stop() -> bool:
    """The parent says nothing during a run, so anything to read is the end of its stream."""
    return bool(select.select([0], [], [], 0)[0])
