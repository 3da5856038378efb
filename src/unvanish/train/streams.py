"""Each run's random numbers: those that it would draw from torch's global CPU stream if it were alone."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, final

import torch
from torch import Tensor


class Stream(Protocol):
    @property
    def state(self) -> Tensor: ...

    @state.setter
    def state(self, state: Tensor) -> None: ...

    def turn(self) -> AbstractContextManager[None]:
        """What is drawn from torch's global stream within is this run's."""
        ...


@final
class GlobalStream:
    """torch's own: the run has it for itself, within its steps too."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)

    @property
    def state(self) -> Tensor:
        return torch.get_rng_state()

    @state.setter
    def state(self, state: Tensor) -> None:
        torch.set_rng_state(state)

    def turn(self) -> AbstractContextManager[None]:
        return nullcontext()


@final
class OwnStream:
    """A state of its own, put into torch's stream for its turns."""

    def __init__(self, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.state = torch.get_rng_state()

    @contextmanager
    def turn(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.state)
            yield
            self.state = torch.get_rng_state()
