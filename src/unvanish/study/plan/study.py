"""A study: what is varied, with which seeds, and what is asked of it; from a TOML file, or in Python."""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from unvanish.core.arguments import a_path
from unvanish.core.errors import RecipeError, did_you_mean
from unvanish.core.input import text_of
from unvanish.core.recipe import Recipe
from unvanish.core.values import counted
from unvanish.study.plan.cells import Cell, cells_of
from unvanish.study.plan.parts import Budget, Compare, Halving, Part, Search, Select, Values
from unvanish.study.settings import SETTINGS

MOST_CHECKED = 50  # cells: the network of each is made, which for 900 of 300 layers takes a minute
WHOLE = ("depth", "width", "epochs", "batch", "samples")
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Study(Part):
    """A study. Its trainings are all combinations of its axes, with each seed.

    name     of its report and its exports
    title    a line for the report
    seeds    each cell is trained with each of them
    base     settings that all trainings share; what is left out is the published baseline's (`SETTINGS`)
    axes     settings with their values, crossed
    zip      groups of settings whose values go together, first with first
    list     cells one by one; crossed with the axes
    keep_weights
             whether the store keeps the final weights of each run: of 300 layers of 300 units 108 MB

    A setting is one of `unvanish.study.settings.SETTINGS`, the same as the options of `unvanish train`. At most one of
    `search`, `select` and `halving`.
    """

    name: Annotated[str, Field(pattern=r"^[\w-]+$")]
    title: str = ""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (42,)
    base: dict[str, Any] = Field(default_factory=dict)
    axes: dict[str, Values] = Field(default_factory=dict)
    zipped: tuple[dict[str, Values], ...] = Field((), alias="zip")
    listed: tuple[dict[str, Any], ...] = Field((), alias="list")
    keep_weights: bool = True
    compare: Compare = Compare()
    search: Search | None = None
    select: Select | None = None
    halving: Halving | None = None
    budget: Budget = Budget()

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The study of a TOML file. Raises `RecipeError`, naming the file, where it makes no sense."""
        file = a_path("a study's file", path)
        text = text_of(file)
        try:
            return cls.model_validate(tomllib.loads(text))
        except RecipeError as error:
            raise RecipeError(f"{file}: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{file} is no TOML: {error}") from error

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise RecipeError("the same seed stands twice among the seeds")
        chosen = [name for name in ("search", "select", "halving") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise RecipeError(f"a study has one of search, select and halving, not {' and '.join(chosen)}")
        for name in self._settings():
            if name == "seed":
                raise RecipeError("seeds = [1, 2, 3] stands at the top of the file, and is no setting")
            if name not in SETTINGS:
                guess = did_you_mean(name, SETTINGS)
                raise RecipeError(f"no setting is called '{name}'{guess or '; there are ' + ', '.join(SETTINGS)}")
        if self.search is not None and self.search.low > self.search.high:
            raise RecipeError("a search goes from low up to high")
        self._check_decided()
        count = self._least_runs()
        if count > self.budget.runs:
            of = " with the last trainings of what is chosen" if self.select or self.halving else ""
            raise RecipeError(f"it has {count:,} runs{of}, and its budget is {self.budget.runs:,}")
        if self.compare.baseline is not None and self.compare.baseline not in [cell.name for cell in self.cells]:
            names = [cell.name for cell in self.cells]
            guess = did_you_mean(self.compare.baseline, names) or f"; there are {', '.join(map(repr, names[:12]))}"
            raise RecipeError(f"no cell is called '{self.compare.baseline}'{guess}")
        names = [cell.name for cell in self.cells]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise RecipeError(f"two cells are called '{twice}': give values that differ")
        own = [self.select.setting] if self.select is not None else []
        for cell in self.cells:
            cell.check_effect([*cell.varied, *own])
        for cell in self._to_check():  # a mistake is told now, not after hours
            for recipe in [cell.check(**others) for others in self._tried()]:
                if self.halving is not None and max(self.halving.epochs) >= sum(recipe.stage_epochs()):
                    last = max(self.halving.epochs)
                    raise RecipeError(f"halving after {last} epochs needs trainings that are longer")
        return self

    def _least_runs(self) -> int:
        """With the last trainings of what is chosen; of a search, those of its first value."""
        cells = len(self.cells)
        tried = cells * (len(self.select.values) if self.select is not None else 1)
        last = cells if self.select is not None else self.halving.left_of(cells) if self.halving is not None else 0
        return (tried + last) * len(self.seeds)

    def _check_decided(self) -> None:
        """What is decided by results is not varied, too."""
        varied = {name for cell in self.cells for name in cell.varied}
        for part in (self.search, self.select):
            if part is not None and part.setting in varied:
                what = type(part).__name__.lower()
                raise RecipeError(f"{part.setting} is the setting of [{what}]: it is not varied by axes, zip or list")
        own = {self.select.setting} if self.select is not None else set[str]()
        if "held_out" in varied | own and (self.select is not None or self.halving is not None):
            raise RecipeError("held_out is not varied with [select] or [halving]: the last trainings are on all images")

    def _to_check(self) -> Iterator[Cell]:
        """Of many cells those that bring a new value; of the others a mistake is told before anything is trained."""
        seen = set[str]()
        for cell in self.cells:
            values = {f"{name} = {value}" for name, value in cell.varied.items()}
            if len(self.cells) <= MOST_CHECKED or values - seen:
                yield cell
            seen |= values

    def _settings(self) -> Mapping[str, None]:
        own = [getattr(self.search, "setting", None), getattr(self.select, "setting", None)]
        groups = [self.base, self.axes, *self.zipped, *self.listed, filter(None, own)]
        return dict.fromkeys(name for group in groups for name in group)

    def _tried(self) -> list[dict[str, Any]]:
        """The settings besides a cell's own, as far as they are known now."""
        if self.search is not None:
            if self.search.setting not in WHOLE:
                raise RecipeError(f"a search needs a setting of whole numbers: {', '.join(WHOLE)}")
            first = {self.search.low, min(2 * self.search.low, self.search.high)}  # one may fit a remedy by chance
            return [{self.search.setting: value} for value in sorted(first)]
        return [{}] if self.select is None else [{self.select.setting: value} for value in self.select.values]

    @cached_property
    def cells(self) -> list[Cell]:
        return cells_of(self.base, self.axes, self.zipped, self.listed)

    @property
    def goes_by_results(self) -> bool:
        """Whether what is trained next depends on what came before."""
        return any(part is not None for part in (self.search, self.select, self.halving))

    def recipes(self, cell: Cell, **others: Any) -> tuple[Recipe, ...]:
        """Of a cell, one for each seed."""
        part = self.search or self.halving
        if part is not None:  # what is decided by results is decided on held-out images
            others = {"held_out": cell.settings.get("held_out", part.held_out), **others}
        return cell.recipes(self.seeds, **others)

    def __str__(self) -> str:
        return f"{self.name}: {counted(len(self.cells), 'cell')}, {counted(len(self.seeds), 'seed')}"
