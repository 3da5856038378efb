"""The docstrings of unvanish as Markdown: lists of names, doctests, and the reason at the head of a unit's file.

A docstring lists names as `name    what it is`, in columns; a continued line is indented. Here that becomes a table.
"""

import re
from typing import Any

from griffe import Class, Docstring, Extension, Function, Module

NAMED = re.compile(r"(?P<names>\w+(?:, \w+)*) {2,}(?P<text>\S.*)")
OWN_PARAGRAPH = re.compile(r"^(What it measures|Why it is bad|Limitations|Prescriptions|References): ")
UNITS = ("unvanish.remedies.", "unvanish.measure.quantities.", "unvanish.diagnosis.checks.")


class AsMarkdown(Extension):
    """Rewrites each docstring once, when its object has been read."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        if cls.docstring:
            cls.docstring.value = as_markdown(cls.docstring.value)
        if made := _made_by(cls):
            cls.docstring = Docstring(f"{made}\n\n{cls.docstring.value if cls.docstring else ''}", parent=cls)
        reason = cls.parent.docstring if isinstance(cls.parent, Module) else None
        if reason and cls.path.startswith(UNITS) and _is_the_unit(cls):
            _append(cls, as_markdown(reason.value))

    def on_function(self, *, func: Function, **_: Any) -> None:
        if func.docstring:
            func.docstring.value = as_markdown(func.docstring.value)


def as_markdown(text: str) -> str:
    """
    >>> print(as_markdown("x    the input,\\n     a batch\\nseed of the order"))
    | | |
    | --- | --- |
    | `x` | the input, a batch |
    <BLANKLINE>
    seed of the order
    >>> as_markdown(">>> 1 + 1\\n2").splitlines()
    ['```pycon', '>>> 1 + 1', '2', '```']
    """
    out: list[str] = []
    rows: list[tuple[str, str]] = []

    def end_of_table() -> None:
        if rows:
            cells = [f"| {', '.join(f'`{one}`' for one in names.split(', '))} | {text} |" for names, text in rows]
            out.extend(["", "| | |", "| --- | --- |", *cells, ""])
            rows.clear()

    in_doctest = False
    for line in text.splitlines():
        if in_doctest and not line.strip():
            out.append("```")
            in_doctest = False
        if line.startswith(">>> ") and not in_doctest:
            end_of_table()
            out += ["", "```pycon"]
            in_doctest = True
        if in_doctest:
            out.append(line)
        elif found := NAMED.fullmatch(line):
            rows.append((found["names"], _cell(found["text"])))
        elif rows and line.startswith("  ") and line.strip():
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {_cell(line.strip())}")
        else:
            end_of_table()
            out.append(OWN_PARAGRAPH.sub(r"\n**\1.** ", line))
    end_of_table()
    if in_doctest:
        out.append("```")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _is_the_unit(cls: Class) -> bool:
    """Not one of the classes that help it."""
    return any(str(base).endswith(("Remedy", "Quantity", "Check")) for base in cls.bases)


def _made_by(cls: Class) -> str:
    """A `validated` class is called with its fields, which mkdocstrings does not know."""
    if not any(str(one.value).startswith("validated") for one in cls.decorators):
        return ""
    fields = [
        f"{name}={_short(str(one.value))}" if one.value is not None else name
        for name, one in cls.attributes.items()
        if one.annotation is not None and "instance-attribute" in one.labels and not name.startswith("_")
    ]
    return f"```python\n{cls.name}({', '.join(fields)})\n```"


def _short(value: str) -> str:
    """
    >>> _short("Field(default_factory=dict)")
    'dict()'
    """
    return re.sub(r"Field\(default_factory=(\w+)\)", r"\1()", value)


def _append(cls: Class, text: str) -> None:
    own = cls.docstring.value if cls.docstring else ""
    cls.docstring = Docstring(f"{own}\n\n{text}".strip(), parent=cls)
