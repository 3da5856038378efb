"""The state of the process that a reproducible training needs, restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def reproducible_process() -> Iterator[None]:
    """One thread, denormals flushed to zero, and the caller's random state and settings back at the end.

    Vanishing gradients are denormal numbers, and a processor takes many times longer for each
    (method 1b trains 3 times slower); flushing them changes no printed figure.
    """
    threads = torch.get_num_threads()
    flushed = _denormals_are_flushed()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)


def _denormals_are_flushed() -> bool:
    return (torch.tensor(1e-38) * 0.01).item() == 0.0


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
