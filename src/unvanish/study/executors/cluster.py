"""An executor: the nodes of a Ray cluster. Jobs, data and messages go through its object store, nothing through files.

This process, the driver, keeps the store. What has come from a place that is lost is kept; the run goes on from its
last checkpoint in a new place, on whichever node has a free CPU.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, Self

from unvanish.core.errors import ClusterError
from unvanish.study.executors.node import Node, versions

log = logging.getLogger("unvanish")

SETTINGS = {  # Ray reads them when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_NUM_REDIS_GET_RETRIES": "2",  # attempts to connect, a second each
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # else it prints on standard output when a node dies, log_to_driver or not
    "RAY_SCHEDULER_EVENTS": "0",
}
CONNECT_S = 5.0  # Ray itself tries for a minute and longer
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # gRPC answers (RFC 9113, 3.4)
WAITING_S = 30.0  # for a CPU, before it is said; a place starts in about 5 s


class RayCluster:
    """So many places at a time, one CPU each; without a number, one for each CPU that the cluster has now.

    address  of the cluster, `HOST:PORT`, or `auto`: that of the environment variable RAY_ADDRESS or of this machine.
             This process must run on one of its nodes. Where it has called `ray.init`, that cluster is used
    most     no more places than this

    Raises `ClusterError` where there is no such cluster, or Ray is not installed.
    """

    here = False  # where a run trains, its place says

    def __init__(self, places: int | None = None, address: str = "auto", most: int | None = None) -> None:
        self.ray = _ray()
        self.address = address
        self._ours = not self.ray.is_initialized()
        if self._ours:
            _connect(self.ray, address)
        cpus = int(self.ray.cluster_resources().get("CPU", 0))
        self.places = min(places or cpus or 1, most or places or cpus or 1)  # they wait where there is none yet
        self._data: dict[str, Any] = {}
        self._actor = self.ray.remote(
            num_cpus=1, max_restarts=0, max_task_retries=0, concurrency_groups={"control": 1}
        )(Node)
        self._waiting_since, self._told = time.monotonic(), False
        self.workers = [RayPlace(self) for _ in range(self.places)]

    def provide(self, data: str) -> None:
        """Into the object store, once: from there it comes to each node that needs it, once, and is not copied."""
        if data not in self._data:
            from unvanish.data.known import data_named
            from unvanish.data.messages import arrays_of_data

            self._data[data] = self.ray.put(arrays_of_data(data_named(data)))

    def spawn(self) -> "RayPlace":
        """One more, in the place of one that is gone: it begins as soon as a node has a free CPU."""
        place = RayPlace(self)
        self.workers.append(place)
        self._waiting_since, self._told = time.monotonic(), False
        return place

    def reap(self, worker: "RayPlace") -> str:
        """Let go of a place that has ended; how it ended."""
        self.workers.remove(worker)
        worker.dismiss()  # one that cannot be reached may live
        return worker.how

    def ready(self, timeout: float | None) -> list["RayPlace"]:
        """The places that have sent something, or have ended."""
        if over := [place for place in self.workers if place.over]:
            return over
        places = {id(place.stream): place for place in self.workers if place.stream is not None}
        streams = [place.stream for place in places.values()]
        until = None if timeout is None else time.monotonic() + timeout
        while streams:
            left = WAITING_S if until is None else min(WAITING_S, max(0.0, until - time.monotonic()))
            found, _ = self.ray.wait(streams, num_returns=1, timeout=left)
            if found:  # all that are: with many places, asking for each message anew would take too long
                found, _ = self.ray.wait(streams, num_returns=len(streams), timeout=0)
                return [places[id(stream)] for stream in found]
            if until is not None and time.monotonic() >= until:
                break
            if freed := self._look_who_waits():
                return [freed]
        return []

    def messages(self, ready: list["RayPlace"]) -> Iterator[tuple["RayPlace", bytes | None]]:
        """What each of them has sent; `None` where it has ended. Raises `ClusterError` where a node is not fit."""
        return ((place, place.receive()) for place in ready if place in self.workers)

    def _look_who_waits(self) -> "RayPlace | None":
        """A job that waits for a CPU gets that of a place without one, which ends; if there is none, it is said."""
        waiting = sum(not place.process for place in self.workers)
        if not waiting or time.monotonic() - self._waiting_since < WAITING_S:
            return None
        for place in self.workers:
            if place.stream is None:
                place.dismiss()
                return place
        if not self._told:
            log.warning("%d of %d places wait for a free CPU of the cluster at %s", waiting, self.places, self.address)
            self._told = True
        return None

    def data_of(self, name: str) -> Any:
        return self._data[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for place in list(self.workers):
            self.reap(place)
        self._data.clear()
        if self._ours:
            with _signals_as_they_are():
                self.ray.shutdown()


class RayPlace:
    """An actor of a cluster, which may still wait for a CPU."""

    def __init__(self, cluster: RayCluster) -> None:
        self.cluster = cluster
        self.actor = cluster._actor.remote(versions())
        self.stream: Any = None  # the messages of its job, if it has one
        self.process = ""  # where it is, once it has said so
        self.over, self.how = False, "it had nothing to do"

    def give(self, job: bytes) -> None:
        from unvanish.core.serialisation import meta_of

        meta = meta_of(job)
        if meta["device"] != "cpu":
            raise ClusterError(f"on a cluster, trainings run on its CPUs, not on {meta['device']}: give the device cpu")
        data = self.cluster.data_of(meta["data"])
        self.stream = self.actor.train.options(num_returns="streaming").remote(job, data)

    def finish_soon(self) -> None:
        """No more jobs: it ends after the present epoch, or at once where it has no job, or has not begun it."""
        if self.process and self.stream is not None:
            self.actor.finish_soon.options(concurrency_group="control").remote()
        else:
            self.dismiss()

    def dismiss(self) -> None:
        self.over = True
        self.cluster.ray.kill(self.actor)

    def receive(self) -> bytes | None:
        from unvanish.core.serialisation import meta_of

        if self.over:
            return None
        errors = self.cluster.ray.exceptions
        try:
            message = self.cluster.ray.get(next(self.stream))
        except StopIteration:
            self.how = "its task ended"
            return None
        except errors.RayActorError as error:
            if error.actor_init_failed:
                raise ClusterError(_why_not(error)) from error
            self.how = f"{self.process or 'a process of the cluster'} died"
            return None
        except errors.RayError as error:
            self.how = _last_line(error)
            return None
        meta = meta_of(message)
        self.process = self.process or meta["process"]  # the first message says so
        if meta["about"] == "free":
            self.stream = None
        return message


def _ray() -> ModuleType:
    """Ray, told to keep quiet: standard output and error are our own."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        return import_module("ray")
    except ImportError as error:
        raise ClusterError("Ray is not installed: pip install 'unvanish[ray]'") from error


def _connect(ray: ModuleType, address: str) -> None:
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if address != "auto":
        reach(address)
    with _signals_as_they_are(), chdir(os.sep):  # Ray has its processes import what lies in the current folder
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ClusterError(
                f"no Ray cluster can be joined at {address}: {_last_line(error)}. This must run on one of its nodes, "
                "with the same version of Ray and, where it has a token, its RAY_AUTH_MODE and RAY_AUTH_TOKEN"
            ) from error


def reach(address: str) -> None:
    """Raise `ClusterError`, soon, where this is no address or nothing answers there."""
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdecimal():
        raise ClusterError(
            f"'{address}' is no address of a Ray cluster: HOST:PORT, as ray start --head says, or auto. A Ray client's "
            "address will not do: this has to run on a node of the cluster"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S) as server:
            server.sendall(HTTP2_HELLO)
            server.recv(1)
    except (OSError, OverflowError, ValueError) as error:  # ValueError: a host that cannot be one
        raise ClusterError(f"no Ray cluster answers at {address} ({error}): ray start --head begins one") from error


@contextmanager
def _signals_as_they_are() -> Iterator[None]:
    """Ray ends the process on SIGTERM, without what has to be done before; ending Ray leaves no handler at all."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _last_line(error: Exception) -> str:
    """Of what Ray says, which is a traceback and an explanation."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _why_not(error: Exception) -> str:
    """An actor could not be made."""
    kind, _, said = _last_line(error).partition(": ")
    if kind.endswith(ClusterError.__name__):
        return said
    return f"a node of the cluster cannot train: {said or kind}. Install unvanish on every node, in the same version"
