"""Where a study's trainings run: worker processes on this machine, or the nodes of a Ray cluster."""

from enum import StrEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from unvanish.study.executors.protocol import Executor


class Engine(StrEnum):
    local = "local"
    ray = "ray"


def executor_of(engine: Engine, jobs: int | None, address: str | None, most: int) -> "Executor":
    """With `jobs` places, at most `most`, which are started: they take as long to import torch as this process does.

    Without `jobs`, one place for each core of this machine, or for each CPU of the cluster.
    Raises `ClusterError` where there is no cluster at the address.
    """
    if engine is Engine.ray:
        from unvanish.study.executors.cluster import RayCluster

        return RayCluster(jobs, "auto" if address is None else address, most)
    from unvanish.core.machine import usable_cores
    from unvanish.study.executors.pool import WorkerPool

    return WorkerPool(min(jobs or usable_cores(), most))


def check_engine(engine: Engine, address: str | None) -> None:
    if address is not None and engine is Engine.local:
        raise typer.BadParameter("--address is of a cluster: add --engine ray", param_hint="--address")


def device_on(engine: Engine, device: str | None) -> str | None:
    """What `device_named` is asked for: on a cluster, the CPU, whatever this machine has."""
    return "cpu" if engine is Engine.ray and device is None else device
