"""Modules that carry a tensor past others, for skips between blocks that do not stand side by side.

Where they do, `Residual` needs nothing of the kind.
"""

import threading
from typing import Any, final

import torch
from torch import Tensor, nn

from unvanish.core.errors import UnvanishError


@final
class Wire:
    """Carries one tensor from a `Put` to its `Add` within a forward pass, in each thread its own.

    A copy of it starts empty.
    """

    def __init__(self) -> None:
        self._here = threading.local()

    def put(self, value: Tensor) -> None:
        self._here.value, self._here.with_graph = value, torch.is_grad_enabled()

    def take(self) -> Tensor:
        """What was put last; it stays, because a checkpointed region is run again in the backward pass."""
        if not hasattr(self._here, "value"):
            raise UnvanishError("the block at the end of a skip connection ran before the one at its start")
        if torch.is_grad_enabled() and not self._here.with_graph:
            raise UnvanishError(
                "a skip connection leads out of a checkpointed region, where its gradient would be lost: checkpoint "
                "both of its ends together, or with use_reentrant=False"
            )
        return self._here.value

    def __deepcopy__(self, memo: dict[int, Any]) -> "Wire":
        return memo.setdefault(id(self), Wire())

    def __reduce__(self) -> tuple[type["Wire"], tuple[()]]:
        return Wire, ()


@final
class Put(nn.Module):
    """Passes its input on, and also puts it on a wire."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire

    def forward(self, x: Tensor) -> Tensor:
        self.wire.put(x)
        return x


@final
class Add(nn.Module):
    """Adds what comes over the wire to its input."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire

    def forward(self, x: Tensor) -> Tensor:
        return x + self.wire.take()


@final
class Mix(nn.Module):
    """t of its input and 1 − t of what comes over the wire, t the logistic function of `gate` of the latter."""

    def __init__(self, wire: Wire, gate: nn.Module) -> None:
        super().__init__()
        self.wire, self.gate = wire, gate

    def forward(self, x: Tensor) -> Tensor:
        past = self.wire.take()
        return torch.lerp(past, x, self.gate(past).sigmoid())


@final
class Then(nn.Module):
    """A block of any signature, and behind it an end of a wire."""

    def __init__(self, block: nn.Module, end: "Put | Add | Mix") -> None:
        super().__init__()
        self.block, self.end = block, end

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.end(self.block(*args, **kwargs))
