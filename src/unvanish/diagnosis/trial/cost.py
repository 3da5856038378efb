"""What a pass costs, in floating-point operations: those of its products, and for each call as many as take its time.

A count, so that it is the same on every machine.
"""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

A_CALL = 500_000  # some 10 µs of a core


class Operations(TorchDispatchMode):
    """Counts within it. (`FlopCounterMode` also follows modules by hooks, in which a model may not differentiate.)"""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.total += A_CALL
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result
