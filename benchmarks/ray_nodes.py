"""A real Ray cluster of two nodes on this machine, for tests and benchmarks: each can be killed whole."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

MARK = "UNVANISH_RAY_NODE"  # in the environment of each of a node's processes
STORE_BYTES = 150_000_000  # an object store holds FashionMNIST, 55 MB, and checkpoints
STARTS_S = 60.0


class TwoNodes:
    """Started at the beginning of a `with` block; at its end none of their processes is left."""

    def __init__(self, cpus: int = 1, **environment: str) -> None:
        self.cpus = cpus
        self.folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # paths of sockets must be short
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.environment = token | {"RAY_USAGE_STATS_ENABLED": "0"}  # a driver needs this, too
        self.of_nodes = os.environ | self.environment | environment
        self.marks = {name: f"{self.folder.name}-{name}" for name in ("head", "second")}

    def start(self, name: str) -> None:
        """`head` or `second`: returns when the node runs."""
        where = ["--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}"]
        where += [f"--ray-client-server-port={free_port()}"]  # else 10001, which another cluster may have
        if name == "second":
            where = [f"--address={self.address}"]
        ray = Path(sys.executable).with_name("ray")
        command = [ray, "start", *where, "--node-ip-address=127.0.0.1", f"--num-cpus={self.cpus}", "--num-gpus=0"]
        command += [f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats"]
        marked = self.of_nodes | {MARK: self.marks[name]}
        done = subprocess.run(command, env=marked, capture_output=True, text=True, timeout=STARTS_S, check=False)
        if done.returncode:
            raise RuntimeError(f"ray start failed: {done.stdout}{done.stderr}")

    def kill(self, name: str) -> None:
        """Every process of a node, with signal 9."""
        while pids := self.processes(name):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def processes(self, name: str) -> list[int]:
        mark = f"{MARK}={self.marks[name]}".encode()
        return [pid for pid, content in _read("environ") if mark in content.split(b"\0")]

    def actors(self) -> list[int]:
        """The processes that train, on either node."""
        ours = set(self.processes("head")) | set(self.processes("second"))
        return [pid for pid, content in _read("cmdline") if pid in ours and content.startswith(b"ray::Node")]

    def __enter__(self) -> Self:
        try:
            self.start("head")
            self.start("second")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill("second")
        self.kill("head")
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _read(what: str) -> list[tuple[int, bytes]]:
    """Of each process that is no zombie: those have nothing to read."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if content := (folder / what).read_bytes():
                found.append((int(folder.name), content))
    return found
