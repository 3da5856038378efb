"""Formulas: LaTeX between `$$` and `$$`, or `$` and `$`, becomes MathML when the site is built."""

import re
from html import unescape

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.postprocessors import Postprocessor

WRITTEN = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


class Formulas(Postprocessor):
    """Arithmatex has found the formulas, and left them as they were written."""

    def run(self, text: str) -> str:
        return WRITTEN.sub(lambda found: drawn(found[1], unescape(found[2])), text)


def drawn(element: str, latex: str) -> str:
    """
    >>> "<mi>&#x003C7;</mi>" in drawn("span", r"\\chi")
    True
    """
    display = "block" if element == "div" else "inline"
    return f'<{element} class="formula">{convert(latex.strip(), display=display)}</{element}>'


class MathML(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        md.postprocessors.register(Formulas(md), "formulas", 5)  # when all else is HTML


def makeExtension(**options: object) -> MathML:
    return MathML(**options)
