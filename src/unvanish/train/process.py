"""The state of the process that a reproducible training needs, restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from unvanish.core.arguments import in_brief
from unvanish.core.errors import RecipeError


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
        # asking for the state of a CUDA device that nobody uses yet would start it
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
        with torch.random.fork_rng(devices):
            yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)


def _denormals_are_flushed() -> bool:
    return (torch.tensor(1e-38) * 0.01).item() == 0.0


def device_named(name: str | None) -> torch.device:
    """The device of that name; without one, CUDA where there is one, else the CPU."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError, ValueError) as error:
        raise RecipeError(f"device {in_brief(name)} is not one of torch's; there are cpu, cuda, cuda:1, …") from error
    if device.type not in ("cpu", "cuda"):
        raise RecipeError(f"device '{name}' is not supported: training runs on cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RecipeError(f"device '{name}' is not here: torch sees no CUDA device on this machine")
    return device
