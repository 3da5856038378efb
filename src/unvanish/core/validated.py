"""Frozen, validated values whose refusals are sentences."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import AfterValidator, ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from unvanish.core.errors import RecipeError, did_you_mean

T = TypeVar("T")


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives them back: tuples are lists, and what JSON cannot hold is refused."""
    try:
        return json.loads(json.dumps(options))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"options are numbers, texts, lists and such, which {options} are not: {error}") from error


Options = Annotated[dict[str, Any], AfterValidator(_plain)]  # keyword arguments, as data


@dataclass_transform(frozen_default=True)
def validated(cls: type[T]) -> type[T]:
    """A frozen dataclass that checks its fields when it is made, and refuses a name that is none of them.

    >>> from unvanish.remedies import WeightIncreasing
    >>> WeightIncreasing(sdt=10)
    Traceback (most recent call last):
    unvanish.core.errors.RecipeError: WeightIncreasing has no 'sdt'; did you mean 'std'?
    """
    made: Any = dataclass(frozen=True, config=ConfigDict(extra="forbid"))(cls)
    make = made.__init__

    @wraps(make)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        with in_a_sentence(made.__name__, field_names(made)):
            make(self, *args, **kwargs)

    made.__init__ = __init__
    return made


def field_names(made: Any) -> list[str]:
    return [field.name for field in fields(made)]


@contextmanager
def in_a_sentence(name: str, known: Iterable[str]) -> Iterator[None]:
    """Raise `RecipeError` in place of pydantic's report."""
    try:
        yield
    except ValidationError as error:
        raise RecipeError("; ".join(_sentence(name, list(known), one) for one in error.errors())) from None


def _sentence(name: str, known: list[str], error: Any) -> str:
    first, *rest = error["loc"] or ("value",)
    if error["type"] == "unexpected_positional_argument":
        return f"{name} takes {', '.join(known)} and nothing more, not {error['input']!r}"
    where = ".".join(map(str, (known[first] if isinstance(first, int) else first, *rest)))
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        guess = did_you_mean(where, known)
        return f"{name} has no '{where}'{guess or '; it has ' + ', '.join(known)}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{name} needs '{where}'"
    reason = error["msg"][:1].lower() + error["msg"][1:]
    return f"{name}'s {where}: {reason}, not {error['input']!r}"
