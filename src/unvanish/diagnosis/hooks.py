"""What a watch puts into a model, and what it changes around a forward pass that it measures."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from unvanish.diagnosis.trial.isolation import step_by_step


class Hook:
    """A hook of one watch only: in a copy of the model, or a saved one, it does nothing."""

    def __init__(self, call: Callable[..., None] | None = None, *, last: bool = False) -> None:
        self.call, self.last = call, last

    def __call__(self, *arguments: Any) -> None:
        if self.call is not None:
            self.call(*(arguments[-1:] if self.last else ()))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Hook":
        return Hook()

    def __reduce__(self) -> tuple[type["Hook"], tuple[()]]:
        return Hook, ()


def whatever_hides(model: nn.Module) -> Callable[[], ExitStack] | None:
    """Makes contexts within which a forward pass leaves every operation in the graph; `None` if it does so anyway.

    A compiled model runs uncompiled in it, and recurrent layers one time step after the other: the same but for
    rounding.
    """
    modules = list(model.modules())
    compiled = any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in modules)
    recurrent = any(isinstance(module, nn.RNNBase) for module in modules)

    if not compiled and not recurrent:
        return None

    def unfold() -> ExitStack:
        during = ExitStack()
        if compiled:
            during.enter_context(torch.compiler.set_stance("force_eager"))
        if recurrent:
            during.enter_context(step_by_step())
        return during

    return unfold
