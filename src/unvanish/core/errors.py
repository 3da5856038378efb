"""What can go wrong, in sentences that say what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class UnvanishError(Exception):
    """Base of every error that a user can cause or mend.

    Not a `ValueError`: pydantic would wrap it, and the sentence would drown in its report.
    """


class RecipeError(UnvanishError):
    """A recipe, or a part of one, asks for something that makes no sense."""


class NothingToDo(UnvanishError):
    """A remedy finds nothing to change in this setup."""


class DataError(UnvanishError):
    """The data set cannot be had, or is not what it should be."""


class StoreError(UnvanishError):
    """The store cannot be read or written."""


class OutputError(UnvanishError):
    """A file that was named for a result cannot be written."""


class DamagedError(StoreError):
    """What the store kept is not what it reads now."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'ReLU'?"`, or nothing when no choice comes near.

    >>> did_you_mean("rleu", ["Sigmoid", "ReLU"])
    "; did you mean 'ReLU'?"
    """
    by_lower = {choice.lower(): choice for choice in choices}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""
