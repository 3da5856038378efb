"""The checks as rules that can be looked up by their code."""

import sys

from unvanish.core.errors import RecipeError, did_you_mean
from unvanish.diagnosis.checks import ALL
from unvanish.diagnosis.examination import Check


def rule(code: str) -> Check:
    """The check of a code such as `UV001`, in any case; or of a kind such as `vanishing`.

    >>> rule("uv004").title
    'dead units'
    """
    for check in ALL:
        if code.lower() in (check.code.lower(), check.kind):
            return check
    known = [check.code for check in ALL] + [check.kind for check in ALL]
    raise RecipeError(f"no rule is called '{code}'{did_you_mean(code, known)}; `unvanish rule --list` lists them")


def explanation(check: Check) -> str:
    """What it measures, why that is bad, known problems, remedies, references: the text of the check's own module."""
    return (sys.modules[type(check).__module__].__doc__ or "").strip()
