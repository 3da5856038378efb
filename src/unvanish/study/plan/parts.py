"""The tables of a study file: what is compared, searched, selected, stopped, and how much may be trained."""

import math
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from unvanish.core.values import Count, in_a_sentence

MOST_RUNS = 1_000_000
Fraction = Annotated[float, Field(gt=0, lt=1)]
Values = Annotated[list[Any], Field(min_length=1)]


class Part(BaseModel):
    """A table of a study file: unknown names are refused in a sentence."""

    called: ClassVar[str] = "a study"

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_in_a_sentence(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        with in_a_sentence(cls.called, [one.alias or name for name, one in cls.model_fields.items()]):
            return handler(value)


class Compare(Part):
    """Against which cell the others are tested, by its name, and by which number: `last` or `best` accuracy."""

    called: ClassVar[str] = "a study's compare"

    baseline: str | None = None
    by: Annotated[str, Field(pattern="^(last|best)$")] = "last"


class Search(Part):
    """The greatest value of a setting at which most seeds still train, by bisection.

    setting  a whole number, such as depth
    low      where it begins; high: where it ends
    trains   the accuracy that counts as trained, in the last epoch; without it a sixth of the way from chance to 1,
             0.25 for ten classes
    held_out on so many of the last training images, unless the base says another number
    within   it ends where the smallest value that failed is at most so many times the greatest that trained
    """

    called: ClassVar[str] = "a study's search"

    setting: str = "depth"
    low: Count = 1
    high: Count = 1000
    trains: Fraction | None = None
    within: Annotated[float, Field(gt=1)] = 1.15
    held_out: Count = 10_000


class Select(Part):
    """Choose the value of a setting for each cell, such as its learning rate.

    Every value is trained without the last `held_out` training images and judged on them, as a mean over the seeds.
    Only the best one is then trained on all of them, and judged on the test images.
    """

    called: ClassVar[str] = "a study's select"

    setting: str
    values: Values
    held_out: Count = 10_000


class Halving(Part):
    """Stop runs that fall behind: successive halving (Jamieson & Talwalkar 2016).

    epochs    after so many epochs in all of a run, each time, the cells are compared, by their mean over the seeds
    keep      this fraction of them goes on, at least one
    held_out  on so many of the last training images, which no run that is compared is trained on
    """

    called: ClassVar[str] = "a study's halving"

    epochs: Annotated[tuple[Count, ...], Field(min_length=1)]
    keep: Fraction = 0.5
    held_out: Count = 10_000

    def kept_of(self, cells: int) -> int:
        """How many of so many cells go on, each time."""
        return max(1, math.ceil(self.keep * cells))

    def left_of(self, cells: int) -> int:
        """How many are left in the end."""
        for _ in self.epochs:
            cells = self.kept_of(cells)
        return cells


class Budget(Part):
    """minutes of training in a call, after which the study ends where it is; the most runs that it may have in all."""

    called: ClassVar[str] = "a study's budget"

    minutes: Annotated[float, Field(gt=0)] | None = None
    runs: Annotated[int, Field(gt=0, le=MOST_RUNS)] = MOST_RUNS
