"""The checks as rules that can be looked up by their code."""

import re
import sys
import textwrap

from unvanish.core.errors import RecipeError, did_you_mean
from unvanish.diagnosis.checks import ALL
from unvanish.diagnosis.examination import Check
from unvanish.render.text import WIDTH


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
    text = (sys.modules[type(check).__module__].__doc__ or "").strip()
    return "\n".join(_filled(paragraph) for paragraph in text.split("\n\n"))


def _filled(paragraph: str) -> str:
    """Each of its sections on lines of its own, in 80 columns; an equation as it stands."""
    if paragraph.startswith("    "):
        return f"\n{paragraph}\n"
    sections = re.sub(r"\n(?!(?:What it measures|Why it is bad|Limitations|Prescriptions|References):)", " ", paragraph)
    return "\n" * (":" in paragraph) + "\n".join(
        textwrap.fill(one, WIDTH, subsequent_indent="  ") for one in sections.split("\n")
    )
