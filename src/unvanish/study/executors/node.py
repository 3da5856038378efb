"""What runs on a node of a cluster: an actor that trains jobs, as a worker process does on this machine.

It reads and writes no file: the job, with its checkpoint, and the data come through the object store, and messages go
back as they happen. Importing this is cheap, for the driver, which starts the actors before it imports torch itself.
"""

import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from unvanish.core.errors import ClusterError

SAME_EVERYWHERE = ("unvanish", "torch", "numpy")  # other versions of these train other numbers


def versions() -> dict[str, str]:
    """Of the packages that decide the numbers."""
    found = {}
    for package in SAME_EVERYWHERE:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


class Node:
    """An actor in a process of its own, in which torch has one thread. Raises `ClusterError` where versions differ."""

    def __init__(self, of_driver: Mapping[str, str]) -> None:
        here = versions()
        if different := [name for name in SAME_EVERYWHERE if here[name] != of_driver[name]]:
            said = ", ".join(f"{name} {here[name]} instead of {of_driver[name]}" for name in different)
            raise ClusterError(
                f"node {platform.node()} has {said}: install the driver's versions on every node of the cluster"
            )
        self.told_to_stop = False

    def finish_soon(self) -> None:
        """Called while a job is trained: it ends after the present epoch."""
        self.told_to_stop = True

    def train(self, job: bytes, data: Mapping[str, Any]) -> Iterator[bytes]:
        """The messages of a job; the first says where it is trained. `data` lies in memory that the node shares."""
        from unvanish.core.serialisation import unpack
        from unvanish.data.messages import data_of_arrays
        from unvanish.study.worker import do, leave_the_compiler_out, stop_of
        from unvanish.train.process import reproducible_process

        leave_the_compiler_out()
        meta, tensors = unpack(job)
        with reproducible_process():  # in the thread that trains: flushing denormals is a thread's own
            yield _where(meta)
            stop = stop_of(meta["epochs"], lambda: self.told_to_stop)
            yield from do(meta, tensors, data_of_arrays(data, meta["data"]), stop)


def _where(meta: Mapping[str, Any]) -> bytes:
    import torch

    from unvanish.core.recipe import Recipe
    from unvanish.core.serialisation import pack
    from unvanish.study.training import header

    first = Recipe.model_validate(meta["recipes"][0])
    together = len(meta["recipes"]) > 1
    under = header(first, torch.device(meta["device"]), meta["measure_every"], ensemble=together).environment
    return pack({"about": "under", "environment": under, "process": f"process {os.getpid()} on {platform.node()}"})
