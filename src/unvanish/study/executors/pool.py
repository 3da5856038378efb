"""An executor: worker processes on this machine. Importing it is cheap, so that they can be started before torch is."""

import json
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Self

from unvanish.study.frames import receive, send

# Isolated from the environment; what this process can import, the worker can, but nothing from the current folder.
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from unvanish.study.executors.orphan import end_with_parent; end_with_parent(int(sys.argv[2])); "
    "from unvanish.study.worker import main; main()"
)


def _import_path() -> list[str]:
    here, package = Path.cwd(), Path(__file__).parents[3]
    absolute = [Path(entry).resolve() for entry in sys.path if entry]
    return [*(str(entry) for entry in absolute if entry != here), str(package)]


def _parent() -> int:
    """This process, where it may be tied to; 0 off the main thread, with whose end Linux would end the worker too."""
    return os.getpid() if threading.current_thread() is threading.main_thread() else 0


class Worker:
    """A process that runs `unvanish.study.worker`."""

    def __init__(self) -> None:
        self.errors = TemporaryFile()  # noqa: SIM115  (closed with the worker)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", START, json.dumps(_import_path()), str(_parent())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
            env=os.environ | threads,
            process_group=0,  # the terminal's Ctrl-C is the parent's affair
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def give(self, job: bytes) -> None:
        with suppress(BrokenPipeError):  # it is dead: its other pipe says so too, and there it is dealt with
            send(self.stdin, job)

    def finish_soon(self) -> None:
        """No more work: it ends after the present epoch, or at once when it has nothing to do."""
        with suppress(BrokenPipeError):
            self.stdin.close()

    def dismiss(self) -> None:
        """End it at once: it has nothing to do, and may still be at its imports."""
        self.process.kill()

    def exit_message(self) -> str:
        """Waits for its end, closes what is open, and says how it ended."""
        code = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        for file in (self.errors, self.stdin, self.stdout):
            with suppress(BrokenPipeError):
                file.close()
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}: {lines[-1]}" if lines else how


class WorkerPool:
    """So many workers at a time, started at once. At the end of the `with` block none is left."""

    here = True

    def __init__(self, places: int) -> None:
        self.places = places
        self._temporary = TemporaryDirectory()
        self._folder = Path(self._temporary.name)
        self.workers = [Worker() for _ in range(places)]
        self._selector = selectors.DefaultSelector()
        for worker in self.workers:
            self._selector.register(worker.stdout, selectors.EVENT_READ, worker)

    def provide(self, data: str) -> str | None:
        """What is fetched, each worker reads from the cache; of one's own, a file that ends with the pool."""
        from unvanish.data.known import FETCHED, data_named
        from unvanish.data.messages import packed_data

        if data in FETCHED:
            return None
        found, file = data_named(data), self._folder / f"{data}.safetensors"
        if not file.exists():
            file.write_bytes(packed_data(found))
        return str(file)

    def spawn(self) -> Worker:
        """One more, in the place of one that is gone."""
        worker = Worker()
        self.workers.append(worker)
        self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
        return worker

    def reap(self, worker: Worker) -> str:
        """Let go of a worker that has ended; its exit message."""
        self.workers.remove(worker)
        self._selector.unregister(worker.stdout)
        return worker.exit_message()

    def ready(self, timeout: float | None) -> list[Worker]:
        """The workers that have said something, or have ended."""
        return [key.data for key, _ in self._selector.select(timeout)]

    def messages(self, ready: list[Worker]) -> Iterator[tuple[Worker, bytes | None]]:
        """What each of them says; `None` where it has ended."""
        return ((worker, receive(worker.stdout)) for worker in ready if worker in self.workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self.workers):
            worker.process.kill()
            self.reap(worker)
        self._selector.close()
        self._temporary.cleanup()
