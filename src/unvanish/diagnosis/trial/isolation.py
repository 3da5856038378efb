"""Isolation: copies to work on, everything else put back as it was, and an end if it takes too long."""

import copy
import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from unvanish.core.errors import UnvanishError

ABORT_S = 60.0  # a safeguard, not a budget: no verdict depends on how fast a machine is until then

Opt = TypeVar("Opt", bound=torch.optim.Optimizer | None)


class Deadline:
    """When to give up, and whether that has come."""

    def __init__(self, seconds: float = ABORT_S) -> None:
        self.seconds, self.until, self.was_missed = seconds, time.monotonic() + seconds, False

    @property
    def passed(self) -> bool:
        self.was_missed = self.was_missed or time.monotonic() > self.until
        return self.was_missed


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside `torch.compile`'s and `DistributedDataParallel`'s wrappers."""
    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod  # pyright: ignore[reportAssignmentType]
        elif isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        else:
            return model


def copied(model: nn.Module, optimizer: Opt, loss: Any = None) -> tuple[nn.Module, Opt, Any]:
    """A copy of all, the optimizer's over the copy's parameters. Raises `UnvanishError` where that cannot be.

    A loss is copied if it is a module: it may have weights and buffers of its own.
    """
    # What a forward pass has left in an attribute belongs to a graph, and cannot be copied as it is.
    left = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    memo = {id(value): value.detach().clone() for value in left if value.grad_fn is not None}
    try:
        its, steps, loss = copy.deepcopy((model, optimizer, loss if isinstance(loss, nn.Module) else None), memo)
        if optimizer is not None:  # torch's own way to copy one leaves out what a subclass adds
            vars(steps).update(
                {
                    name: copy.deepcopy(vars(optimizer)[name], memo)
                    for name in vars(optimizer).keys() - vars(steps).keys()
                }
            )
        return its, steps, loss
    except Exception as error:
        raise UnvanishError(
            f"{type(model).__name__} cannot be copied ({error}), so it cannot be checked without being touched; "
            "`unvanish.watch` measures it during a training instead"
        ) from error


@contextmanager
def isolated(model: nn.Module, batches: Any = None) -> Iterator[None]:
    """Random states and the gradients of the model are afterwards what they were, whatever happens within.

    A loss may reach into the model itself, say for a penalty on its weights. A `DataLoader` may have a generator.
    """
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - people's loaders use it
    owners = (batches, getattr(batches, "sampler", None), getattr(batches, "batch_sampler", None))
    generators = [one for owner in owners if isinstance(one := getattr(owner, "generator", None), torch.Generator)]
    states = [generator.get_state() for generator in generators]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        for parameter, gradient in gradients:
            parameter.grad = gradient


@contextmanager
def step_by_step() -> Iterator[None]:
    """Within it, recurrent layers run one time step after the other, so that each of them is in the graph."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # entering says something about Intel's GPUs
        flags = (torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False))
        with flags[0], flags[1]:
            yield
