"""Ctrl-C between messages: half of one, or a chunk that is not kept yet, would be lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CtrlC:
    """Holds a Ctrl-C back until `may_come`."""

    def __init__(self) -> None:
        self._may_come, self._came = False, False

    @contextmanager
    def between_messages(self) -> Iterator[None]:
        """In the main thread, and where nobody else has a use for the signal."""
        before = signal.getsignal(signal.SIGINT)
        ours = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
        if ours:
            signal.signal(signal.SIGINT, self._interrupted)
        try:
            yield
        finally:
            if ours:
                signal.signal(signal.SIGINT, before)

    @contextmanager
    def may_come(self, *, heed: bool) -> Iterator[None]:
        """While waiting for a message. Raises `KeyboardInterrupt` at once for one that was held back, if to `heed`."""
        if self._came and heed:
            raise KeyboardInterrupt
        self._may_come = True
        yield
        self._may_come = False

    def _interrupted(self, *_: object) -> None:
        if self._may_come:
            raise KeyboardInterrupt
        self._came = True
