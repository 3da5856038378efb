"""Frozen, validated values: they go to JSON and back, and their refusals are sentences."""

import json
from abc import ABC
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache, wraps
from importlib import import_module
from inspect import isabstract
from typing import Annotated, Any, ClassVar, Self, TypeVar, dataclass_transform

from pydantic import AfterValidator, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import core_schema

from unvanish.core.arguments import MOST, in_brief
from unvanish.core.errors import RecipeError, did_you_mean

T = TypeVar("T")


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives them back: tuples are lists, and what JSON cannot hold is refused."""
    try:
        return json.loads(json.dumps(options, allow_nan=False))
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
    made: Any = dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))(cls)
    make = made.__init__

    @wraps(make)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        with in_a_sentence(made.__name__, field_names(made)):
            make(self, *args, **kwargs)

    made.__init__ = __init__
    names = field_names(made)
    made.__hash__ = lambda self: hash((made, *[hashable(getattr(self, name)) for name in names]))
    return made


Count = Annotated[int, Field(gt=0, le=MOST)]
Width = Annotated[int, Field(gt=0, le=10**6)]  # units of a layer: two such layers have 4 TB of weights between them


def counted(count: int, noun: str) -> str:
    """`1 epoch`, `2 epochs`"""
    return f"{count} {noun}{'s' * (count != 1)}"


def hashable(value: Any) -> Any:
    """A value of the same hash for equal values, also of dicts and lists."""
    if isinstance(value, dict):
        return frozenset((key, hashable(inner)) for key, inner in value.items())
    if not isinstance(value, list | tuple):
        return value
    try:
        hash(value)  # a tuple of numbers need not be gone through
        return value
    except TypeError:
        return tuple(map(hashable, value))


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
        return f"{name} takes {', '.join(known)} and nothing more, not {in_brief(error['input'])}"
    where = ".".join(map(str, (known[first] if isinstance(first, int) else first, *rest)))
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        guess = did_you_mean(where, known)
        return f"{name} has no '{where}'{guess or '; it has ' + ', '.join(known)}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{name} needs '{where}'"
    message = error["msg"].removeprefix("Value error, ")
    reason = message[:1].lower() + message[1:]
    for python in ("a valid tuple", "a valid list"):  # in a file both are lists
        reason = reason.replace(python, "a list")
    return f"{name}'s {where}: {reason}, not {in_brief(error['input'])}"


class Registered(ABC):
    """Base of remedies and networks: a family of frozen dataclasses with a registry of its members, by `kind`.

    A member is known as soon as its module is imported; nothing has to be registered.

    home   the package of those that come with unvanish; imported when data are read
    """

    kind: ClassVar[str]
    home: ClassVar[str]

    def dump(self) -> dict[str, Any]:
        """JSON-able data, `kind` included."""
        return {"kind": self.kind, **_adapter(type(self)).dump_python(self, mode="json")}

    @classmethod
    def load(cls, value: Any) -> Self:
        """The member of this family that `value` (a member already, or its dumped data) stands for."""
        if isinstance(value, cls):
            return value
        import_module(cls.home)
        members = {member.kind: member for member in cls.members() if not isabstract(member)}
        if not isinstance(value, dict) or "kind" not in value:
            raise RecipeError(f"{value!r} is no {cls.__name__.lower()}: it has no 'kind' ({', '.join(members)})")
        kind, fields = value["kind"], {key: item for key, item in value.items() if key != "kind"}
        if kind not in members:
            raise RecipeError(f"no {cls.__name__.lower()} is called '{kind}'{did_you_mean(str(kind), members)}")
        with in_a_sentence(kind, field_names(members[kind])):
            return _adapter(members[kind]).validate_python(fields)

    @classmethod
    def members(cls) -> list[type[Self]]:
        return [member for child in cls.__subclasses__() for member in (child, *child.members())]


@cache
def _adapter(member: type) -> TypeAdapter:
    return TypeAdapter(member)


class AsRegistered:
    """Annotation for a pydantic field that holds any member of a family."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            source.load,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.dump()),
        )
