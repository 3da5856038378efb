"""What fails on purpose: the k-th call of something, for every k."""

from collections.abc import Callable, Iterator
from typing import Any


class FailsAt:
    """Raises `error` at its `k`-th call, and is silent at all others."""

    def __init__(self, k: int, error: Callable[[], BaseException]) -> None:
        self.k, self.error, self.calls = k, error, 0

    @property
    def fired(self) -> bool:
        return self.calls >= self.k

    def __call__(self, *_args: Any, **_options: Any) -> None:
        self.calls += 1
        if self.calls == self.k:
            raise self.error()


def at_each_call(error: Callable[[], BaseException]) -> Iterator[FailsAt]:
    """One that fails at the first call, one at the second, … until what is done with it has no more calls."""
    k = 1
    while True:
        fault = FailsAt(k, error)
        yield fault
        if not fault.fired:
            return
        k += 1
