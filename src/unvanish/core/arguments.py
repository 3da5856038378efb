"""What public calls are given, looked at before anything is done with it: a `RecipeError` says what it has to be."""

import math
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from unvanish.core.errors import RecipeError

MOST = 10**9  # of what is counted: more is a mistake, and would overflow elsewhere


def at_least_one(name: str, value: Any, most: int = MOST) -> int:
    """A count."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RecipeError(f"{name} must be a whole number of at least 1, not {in_brief(value)}")
    if value > most:
        raise RecipeError(f"{name} must be a whole number of at most {most:,}, not {in_brief(value)}")
    return value


def seed_number(name: str, value: Any) -> int:
    """What torch and NumPy take for a seed."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise RecipeError(f"{name} must be a whole number from 0 to 2⁶³ − 1, not {in_brief(value)}")
    return value


def not_negative(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise RecipeError(f"{name} must be a whole number of at least 0, not {in_brief(value)}")
    return value


def positive_number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise RecipeError(f"{name} must be a number above 0, not {in_brief(value)}")
    return value


def a_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise RecipeError(f"{name} must be True or False, not {in_brief(value)}")
    return value


def a_function(name: str, value: Any) -> Any:
    """Something that is called for what it does: neither a class, nor one of torch's modules."""
    from torch import nn

    if not callable(value) or isinstance(value, type | nn.Module):
        raise RecipeError(f"{name} must be a function, not {in_brief(value)}")
    return value


def a_path(name: str, value: Any) -> Path:
    """Of a file or a folder, there or not."""
    if not isinstance(value, str | PathLike):
        raise RecipeError(f"{name} must be a text or a pathlib.Path, not {in_brief(value)}")
    if not str(value):
        raise RecipeError(f"{name} is an empty name, which names no file or folder")
    path = Path(value)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # whether it can be written or read is another question
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"{name} cannot be {in_brief(value)}: {reason}") from error
    return path


def a_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise RecipeError(f"{name} must be a text of printable characters, not {in_brief(value)}")
    return value


def batches_of_pairs(name: str, value: Any) -> Iterable[Any]:
    """Something to go through, and neither a tensor, whose items are no batches, nor a text."""
    from torch import Tensor

    if not hasattr(value, "__iter__") or isinstance(value, type | Tensor | str | bytes):
        raise RecipeError(f"{name} must be an iterable of (input, target), such as a DataLoader, not {in_brief(value)}")
    return value


def in_brief(value: Any, most: int = 80) -> str:
    """Its `repr`, cut where it is long; of what has none, its type.

    >>> in_brief("a" * 100, 9)
    "'aaaaaaa…"
    """
    try:
        text = repr(value)
    except Exception:  # of numbers of more digits than Python prints, and of whatever users write
        return f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 1]}…"
