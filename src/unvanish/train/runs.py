"""How one run, or many at once, pass through the one training loop: what differs is where a tensor has its runs."""
# R runs, B batch

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast, final

import torch
from torch import Tensor, nn
from torch.func import vmap

from unvanish.train.ensemble import stacked
from unvanish.train.streams import GlobalStream, OwnStream, Stream

F = TypeVar("F", bound=Callable[..., Any])


class Runs(Protocol):
    lead: tuple[int, ...]  # what stands before the batch dimension

    def stream(self, seed: int) -> Stream:
        """The random numbers of a run."""
        ...

    def network(self, networks: Sequence[nn.Module]) -> nn.Module:
        """The networks of the runs as one."""
        ...

    def mapped(self, function: F) -> F:
        """A function of one run's tensors, as one of all runs'."""
        ...

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The bundle's tensor from that of each run."""
        ...

    def part(self, tensor: Tensor, run: int) -> Tensor:
        """A run's part of all runs' tensor."""
        ...


@final
class Alone:
    lead = ()

    def stream(self, seed: int) -> Stream:
        return GlobalStream(seed)

    def network(self, networks: Sequence[nn.Module]) -> nn.Module:
        return networks[0]

    def mapped(self, function: F) -> F:
        return function

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        return parts[0]

    def part(self, tensor: Tensor, run: int) -> Tensor:
        return tensor


@final
class Together:
    """Runs lie in the first dimension; what has none, as an optimizer's count of steps, is common to all."""

    def __init__(self, runs: int) -> None:
        self.lead = (runs,)

    def stream(self, seed: int) -> Stream:
        return OwnStream(seed)

    def network(self, networks: Sequence[nn.Module]) -> nn.Module:
        return stacked(networks)

    def mapped(self, function: F) -> F:
        return cast(F, vmap(function))

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(parts)) if parts[0].dim() else parts[0]

    def part(self, tensor: Tensor, run: int) -> Tensor:
        return tensor[run] if tensor.dim() else tensor
