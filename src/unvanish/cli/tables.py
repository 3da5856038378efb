"""Tables on standard output."""

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unvanish.core.output import printable

SPARED = "theory"
PROSE, PROSE_NEEDS = "what it changes", 24  # the one column that may be broken, and its least width
NAMES, LONGEST_NAME = ("method", "cell"), 36  # recipes of one's own have long names, which are broken
GAP = 2  # between columns
WIDTH_OF_A_PIPE = 160  # columns, where there is no terminal to ask


def print_table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Figures are never cut: prose gets what room is left, or is left out, and after it what can be spared."""
    screen = console()
    cells = dict(zip(columns, list(zip(*rows, strict=True)) or [()] * len(columns), strict=True))
    # a heading may be broken between its words, a cell not at all
    least = {name: max(map(len, (*name.split(), *texts))) for name, texts in cells.items() if name != PROSE}
    least |= {name: LONGEST_NAME for name in NAMES if least.get(name, 0) > LONGEST_NAME}
    whole = {name: max(map(len, (name, *cells[name]))) for name in least}
    if _wide(least, 1) > screen.width:
        least = {name: width for name, width in least.items() if name != SPARED}
    gap = GAP if _wide(least, GAP) <= screen.width else 1
    with_prose = PROSE in cells and _wide(least, gap) + gap + PROSE_NEEDS <= screen.width
    roomy = _wide({name: whole[name] for name in least}, gap) + with_prose * (gap + PROSE_NEEDS) <= screen.width
    shown = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    kept = [name for name in columns if name in least or (name == PROSE and with_prose)]
    for name in kept:
        width = None if name == PROSE else whole[name] if roomy else least[name]
        shown.add_column(name, overflow="fold", width=width)
    for row in rows:
        shown.add_row(*(Text(printable(text)) for name, text in zip(columns, row, strict=True) if name in kept))
    screen.print(shown)


def _wide(widths: Mapping[str, int], gap: int) -> int:
    return sum(widths.values()) + gap * len(widths)


def console() -> Console:
    terminal = sys.stdout.isatty()
    return Console(highlight=False, markup=False, width=None if terminal else WIDTH_OF_A_PIPE)
