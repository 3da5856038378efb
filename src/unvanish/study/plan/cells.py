"""The cells of a study: every combination of what it varies, but for the seeds."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from unvanish.core.errors import RecipeError, UnvanishError
from unvanish.core.recipe import Recipe
from unvanish.core.values import hashable
from unvanish.study.settings import PARTS, check_effect, recipe_of, remedies_in

Axes = Mapping[str, Sequence[Any]]
AS_THEY_ARE = ("method", "activation", "optimizer", "init")  # their values need no name before them


@dataclass(frozen=True)
class Cell:
    """One way of training.

    varied    what this cell has of the settings that differ between cells
    settings  all of them
    """

    varied: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What figures and tables call it: `5`, `tanh, depth 20`; of a study that varies nothing, `all`."""
        return ", ".join(_said(name, value) for name, value in self.varied.items()) or "all"

    def recipes(self, seeds: Sequence[int], **others: Any) -> tuple[Recipe, ...]:
        """One for each seed; with other settings in place of the cell's own, if any."""
        alike = _recipe(json.dumps({**self.settings, **others}))
        return tuple(alike.model_copy(update={"seed": seed}) for seed in seeds)  # a study has checked its seeds

    def check(self, **others: Any) -> Recipe:
        """Raise `RecipeError`, naming the cell, where its remedies do not fit its network, which is made for this."""
        try:
            return recipe_of({**self.settings, **others})
        except UnvanishError as error:
            at = "".join(f", {_said(name, value)}" for name, value in others.items())
            raise RecipeError(f"cell '{self.name}'{at}: {error}") from error

    def check_effect(self, names: Collection[str]) -> None:
        """Raise `RecipeError`, naming the cell, where a remedy of it replaces what one of these settings sets."""
        if not any(name in PARTS for name in names):
            return
        try:
            check_effect(names, *remedies_in(self.settings))
        except RecipeError as error:
            raise RecipeError(
                f"cell '{self.name}': {error}; leave it out of such cells, which [[list]] can name"
            ) from error

    def __hash__(self) -> int:
        return hash(hashable(dict(self.settings)))


def cells_of(base: Mapping[str, Any], axes: Axes, zipped: Sequence[Axes], listed: Sequence[Mapping]) -> list[Cell]:
    """Axes are crossed with one another, with each group of zipped ones, and with the list."""
    parts: list[list[dict[str, Any]]] = [[{name: value} for value in values] for name, values in axes.items()]
    parts += [list(_zipped(one)) for one in zipped]
    if listed:
        parts.append([dict(one) for one in listed])
    names = [name for part in parts for name in dict.fromkeys(key for one in part for key in one)]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RecipeError(f"{', '.join(sorted(twice))} is varied in two places: axes, zip and list have to differ")
    cells = [_cell(base, {k: v for one in chosen for k, v in one.items()}) for chosen in product(*parts)]
    return list(dict.fromkeys(cells))


@cache
def _recipe(settings: str) -> Recipe:
    """Of all seeds."""
    return recipe_of(json.loads(settings), applied=False)


def _cell(base: Mapping[str, Any], varied: Mapping[str, Any]) -> Cell:
    return Cell(varied, {**base, **varied})


def _zipped(axes: Axes) -> Iterator[dict[str, Any]]:
    lengths = {name: len(values) for name, values in axes.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise RecipeError(f"what is zipped has as many values of each: {said}")
    return (dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True))


def _said(name: str, value: Any) -> str:
    if name == "remedies":
        return " + ".join(map(_short, value)) or "no remedy"
    if isinstance(value, Mapping | list | tuple):
        return f"{name} {_short(value)}"
    return str(value) if name in AS_THEY_ARE and not isinstance(value, float) else f"{name} {value}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        rest = ", ".join(f"{key} {one}" for key, one in value.items() if key != "kind")
        return " ".join(filter(None, (str(value.get("kind", "")), rest and f"({rest})")))
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
