"""Batches of whatever shape people's loops have: (input, target) with tensors, tuples or dicts inside."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.errors import UnvanishError
from unvanish.doctor.graph import tensors_in


@dataclass(frozen=True)
class Batch:
    input: Any
    target: Any

    def output_of(self, model: nn.Module) -> Any:
        """From a copy of the input: a model may work on it in place."""
        return call(model, mapped(torch.clone, self.input))

    @property
    def size(self) -> int:
        """How many samples: the first dimension of the target, or else of the input."""
        for tensor in (*tensors_in(self.target), *tensors_in(self.input)):
            if tensor.dim():
                return len(tensor)
        return 1


def call(model: nn.Module, value: Any) -> Any:
    """`model(**value)` for a dict, `model(*value)` for a tuple or a list, `model(value)` for the rest."""
    if isinstance(value, Mapping):
        return model(**value)
    if isinstance(value, tuple | list):
        return model(*value)
    return model(value)


def take(batches: Iterable[Any], train: int, held: int, device: torch.device | None) -> list[Batch]:
    """The first batches, on `device`: so many to train on, and then as many as have `held` samples, one at least."""
    found: list[Batch] = []
    samples = 0
    for item in batches:
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise UnvanishError(
                f"each batch must be a pair (input, target); got {_described(item)}. "
                "Inputs may be tensors, tuples or dicts: yield (inputs, target) from a small generator"
            )
        found.append(Batch(*(mapped(lambda tensor: tensor.to(device), part) for part in item)))
        samples += found[-1].size if len(found) > train else 0
        if samples >= held:
            break
    if not found:
        raise UnvanishError("there are no batches: `batches` was empty, or an iterator that is used up")
    return found


def mapped(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same nesting with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        items = {key: mapped(change, inner) for key, inner in value.items()}
        return items if type(value) is dict else _like(value, items)
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple
        return type(value)(*(mapped(change, inner) for inner in value))
    if isinstance(value, tuple | list):
        return type(value)(mapped(change, inner) for inner in value)
    return value


def shuffled(target: Any, order_B: Tensor) -> Any:
    """The targets with their samples in another order; a tensor of another first dimension is left."""
    size = len(order_B)
    return mapped(
        lambda tensor: tensor[order_B.to(tensor.device)] if tensor.dim() and len(tensor) == size else tensor, target
    )


def _like(value: Mapping, items: dict) -> Any:
    try:
        return type(value)(items)  # pyright: ignore[reportCallIssue]
    except TypeError:
        return items


def _described(item: Any) -> str:
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {len(item)}"
    return f"a {type(item).__name__}" + (f" of shape {tuple(item.shape)}" if isinstance(item, Tensor) else "")
