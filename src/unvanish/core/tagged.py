"""Frozen values that go to JSON and back with a `kind` that says which class they are."""

from abc import ABC
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic_core import core_schema

from unvanish.core.errors import RecipeError, did_you_mean
from unvanish.core.validated import field_names, in_a_sentence


class Tagged(ABC):
    """Base of remedies and networks: a family of frozen dataclasses, told apart by `kind`.

    A member is known as soon as its module is imported; nothing has to be registered.
    """

    kind: ClassVar[str]

    def dump(self) -> dict[str, Any]:
        """JSON-able data, `kind` included."""
        return {"kind": self.kind, **TypeAdapter(type(self)).dump_python(self, mode="json")}

    @classmethod
    def load(cls, value: Any) -> Self:
        """The member of this family that `value` (a member already, or its dumped data) stands for."""
        if isinstance(value, cls):
            return value
        members = {member.kind: member for member in cls.members()}
        if not isinstance(value, dict) or "kind" not in value:
            raise RecipeError(f"{value!r} is no {cls.__name__.lower()}: it has no 'kind' ({', '.join(members)})")
        kind, fields = value["kind"], {key: item for key, item in value.items() if key != "kind"}
        if kind not in members:
            raise RecipeError(f"no {cls.__name__.lower()} is called '{kind}'{did_you_mean(str(kind), members)}")
        with in_a_sentence(kind, field_names(members[kind])):
            return TypeAdapter(members[kind]).validate_python(fields)

    @classmethod
    def members(cls) -> list[type[Self]]:
        return [member for child in cls.__subclasses__() for member in (child, *child.members())]


class AsTagged:
    """Annotation for a pydantic field that holds any member of a family."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, _handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            source.load,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.dump()),
        )
