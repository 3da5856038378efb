"""Modules that carry a tensor past others: what a skip connection is made of."""

from typing import Any, final

from torch import Tensor, nn


@final
class Wire:
    """Carries one tensor from a `Put` to its `Add` within a forward pass. A copy of it starts empty."""

    def __init__(self) -> None:
        self.value: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Wire":
        return memo.setdefault(id(self), Wire())


@final
class Put(nn.Module):
    """Passes its input on, and also puts it on a wire."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire

    def forward(self, x: Tensor) -> Tensor:
        self.wire.value = x
        return x


@final
class Add(nn.Module):
    """Adds what comes over the wire to its input."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire

    def forward(self, x: Tensor) -> Tensor:
        carried, self.wire.value = self.wire.value, None
        assert carried is not None, "the block at the start of the skip did not run before the one at its end"
        return x + carried


@final
class Then(nn.Module):
    """A block of any signature, and behind it an end of a wire."""

    def __init__(self, block: nn.Module, end: Put | Add) -> None:
        super().__init__()
        self.block, self.end = block, end

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.end(self.block(*args, **kwargs))
