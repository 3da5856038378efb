"""What can go wrong, in sentences that say what to do."""

import sysconfig
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

MOST_GUESSED = 3


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


class ClaimLostError(StoreError):
    """Another writer has taken over a run, since this one was not heard of for too long."""


class OutputError(UnvanishError):
    """A file that was named for a result cannot be written."""


class ClusterError(UnvanishError):
    """A cluster cannot be reached, or its nodes are not fit to train."""


class DamagedError(StoreError):
    """What the store kept is not what it reads now."""


def place_of(error: BaseException) -> str:
    """`m.py, line 36`: the last place that an error went through outside of libraries and of this package; or ``."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    places = sysconfig.get_paths()
    libraries = (places["stdlib"], places["purelib"], places["platlib"], str(Path(__file__).parents[1]), "<frozen")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(libraries)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def as_theirs(error: BaseException) -> str:
    """What a user's code has raised, with its place in it."""
    place = place_of(error)
    try:
        said = str(error.msg if isinstance(error, SyntaxError) else error)
    except Exception:  # of whatever users write
        said = ""
    return f"{type(error).__name__}: {' '.join(said.split()) or 'without a message'}{place and f' ({place})'}"


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'ReLU'?"`, or nothing when no choice comes near.

    >>> did_you_mean("rleu", ["Sigmoid", "ReLU"])
    "; did you mean 'ReLU'?"
    >>> did_you_mean("skip", ["skip-connection", "skip-every-block", "rezero"])
    "; did you mean 'skip-connection' or 'skip-every-block'?"
    """
    by_lower = {choice.lower(): choice for choice in choices}
    near = get_close_matches(name.lower(), by_lower, n=1) or _with_the_word(name.lower(), by_lower)
    return f"; did you mean {' or '.join(repr(by_lower[one]) for one in near)}?" if near else ""


def _with_the_word(word: str, choices: Iterable[str]) -> list[str]:
    return [choice for choice in choices if word in choice.split("-")][:MOST_GUESSED]
