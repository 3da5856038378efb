"""The line `<!-- every remedy -->` becomes the reference of each remedy in `ALL`; likewise `quantity` and `check`."""

from importlib import import_module

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

HOMES = {"remedy": "unvanish.remedies", "quantity": "unvanish.measure.quantities", "check": "unvanish.diagnosis.checks"}
LINES = {f"<!-- every {word} -->": home for word, home in HOMES.items()}


def paths(home: str) -> list[str]:
    """
    >>> paths("unvanish.remedies")[0]
    'unvanish.remedies.weight_increasing.WeightIncreasing'
    """
    units = [one if isinstance(one, type) else type(one) for one in import_module(home).ALL]
    return [f"{unit.__module__}.{unit.__name__}" for unit in units]


class EveryUnit(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        out: list[str] = []
        for line in lines:
            home = LINES.get(line.strip())
            out += [part for path in paths(home) for part in (f"::: {path}", "")] if home else [line]
        return out


class Units(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(EveryUnit(md), "every-unit", 100)  # before comments are put aside as HTML


def makeExtension(**options: object) -> Units:
    return Units(**options)
