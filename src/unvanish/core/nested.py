"""Inputs of whatever nesting: tensors in tuples, lists and dicts."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn


def call(model: nn.Module, value: Any) -> Any:
    """`model(**value)` for a dict, `model(*value)` for a tuple or a list, `model(value)` for the rest."""
    if isinstance(value, Mapping):
        return model(**value)
    if isinstance(value, tuple | list):
        return model(*value)
    return model(value)


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


def _like(value: Mapping, items: dict) -> Any:
    try:
        return type(value)(items)  # pyright: ignore[reportCallIssue]
    except TypeError:
        return items
