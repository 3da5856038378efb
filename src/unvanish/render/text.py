"""Tables over layers and findings as text."""

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO

import numpy as np
from rich.console import Console
from rich.table import Table as TextTable

from unvanish.core.finding import Finding, Prescription
from unvanish.core.table import Table

COLUMNS = (
    "layer",
    "activation RMS",
    "forward ×",
    "backward RMS",
    "backward ×",
    "backward signal",
    "gradient",
    "update",
    "saturated",
    "dead",
)
SHORT = (  # of them, what a terminal of 80 columns has room for: header, which column
    ("layer", 0),
    ("activation\nRMS", 1),
    ("forward\n×", 2),
    ("backward\n×", 4),
    ("backward\nsignal", 5),
    ("update", 7),
    ("satur.", 8),
    ("dead", 9),
)
SHOWN = 24  # layers; of more, the first and the last
WIDTH = 80
NAME = 21  # cells of a layer's name, with its type and shape as far as there is room
BAR, DECADES = 10, 8  # cells, and how many powers of ten they span
HEADINGS = ("What ", "Why", "Proof", "Not tried")
EIGHTHS = " ▏▎▍▌▋▊▉█"


def layer_table(table: Table, described: Mapping[str, str] | None = None) -> list[str]:
    """The last step of a table, a line per layer; nothing for a network without layers.

    described   type and shape of a layer, by its name
    """
    if not len(table):
        return []
    out = StringIO()
    console = Console(file=out, width=WIDTH, color_system=None, highlight=False)
    console.print(_table(table, described or {}))
    return [line.rstrip() for line in out.getvalue().rstrip().splitlines()]


def rows(table: Table) -> list[tuple[str, ...]]:
    """By `COLUMNS`, of the last step."""
    signal = table.row("backward_norm")
    strongest = signal[np.isfinite(signal)].max(initial=0.0)
    with np.errstate(invalid="ignore"):
        shares = signal / strongest if strongest > 0 else np.full(len(signal), np.nan)
    columns = (
        map(number, table.row("activation_rms")),
        map(number, table.factors("spread")),
        map(number, table.row("backward_rms")),
        map(number, table.factors("backward_norm", backward=True)),
        map(bar, shares),
        map(number, table.row("weight_gradient_norm")),
        map(number, table.row("update_ratio")),
        map(percent, table.row("saturated")),
        map(percent, table.row("dead")),
    )
    return list(zip(table.layers, *columns, strict=True))


def number(value: float) -> str:
    """Three digits, and no more room than they need.

    >>> number(0.1234), number(1234567.0), number(float("nan"))
    ('0.123', '1.2e+06', '·')
    """
    if math.isnan(value):
        return "·"
    return f"{value:.3g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def percent(value: float) -> str:
    return "·" if math.isnan(value) else f"{value:.0%}"


def bar(share: float) -> str:
    """A share of the largest, on a log scale over eight decades: full is all of it, empty 1e-8 or less.

    >>> bar(1.0), bar(1e-4).strip(), bar(0.0).strip()
    ('██████████', '█████', '')
    """
    if not share > 0 or not math.isfinite(share):
        return " " * BAR
    eighths = round(max(0.0, min(1.0, 1 + math.log10(share) / DECADES)) * BAR * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (EIGHTHS[rest] if rest else "")).ljust(BAR)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns in 80 cells: the first is text, folded between words; the others are numbers."""
    out = StringIO()
    console = Console(file=out, width=WIDTH, color_system=None, highlight=False)
    shown = TextTable(box=None, pad_edge=True, padding=(0, 1, 0, 1))
    for index, name in enumerate(header):
        shown.add_column(name, justify="right" if index else "left", no_wrap=index > 0, ratio=None if index else 1)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    return [line.rstrip() for line in out.getvalue().rstrip().splitlines()]


def _table(table: Table, described: Mapping[str, str]) -> TextTable:
    shown = TextTable(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for header, place in SHORT:
        shown.add_column(header, justify="left" if place in (0, 5) else "right", no_wrap=True)
    cells = rows(table)
    skipped = 0
    for index, row in enumerate(cells):
        if len(cells) <= SHOWN or index < SHOWN // 2 or index >= len(cells) - SHOWN // 2:
            if skipped:
                shown.add_row(f"… {skipped} more")
                skipped = 0
            name = labelled(row[0], described.get(row[0], ""))
            shown.add_row(name, *(row[place] for _, place in SHORT[1:]))
        else:
            skipped += 1
    return shown


def labelled(name: str, description: str) -> str:
    """A layer's name with its type and shape; a long name loses its front, then the type goes, so that rows differ.

    >>> labelled("0", "Linear 784→128"), labelled("encoder.layers.11.linear1", "Linear 128→512")
    ('0  Linear 784→128', '….11.linear1 128→512')
    """
    whole = f"{name}  {description}".rstrip()
    if len(whole) <= NAME:
        return whole
    if len(name) + len(description) + 1 > NAME:
        description = description.partition(" ")[2] or description
    room = max(NAME // 2, NAME - len(description) - 2)
    short = name if len(name) <= room else f"…{name[1 - room :]}"
    rest = NAME - len(short) - 1
    return f"{short} {description if len(description) <= rest else description[: rest - 1] + '…'}".rstrip()


def finding_lines(finding: Finding, layers: Sequence[str]) -> Iterator[str]:
    """A finding beside the primary one, in lines; `layers` are all layers in forward order."""
    sure = f"{finding.certainty:.0%} sure" if finding.sure else f"not sure, {finding.certainty:.0%}"
    whose = f", a consequence of {finding.because_of}" if finding.because_of else ""
    yield f"{finding.code} {finding.title} ({sure}{whose})"
    yield from wrapped(sentence(finding.message))
    if not finding.because_of:
        yield from reasons(finding, layers)
        if finding.prescriptions:
            yield from wrapped(f"what helps: {'; '.join(finding.advice)}")
    yield ""


def reasons(finding: Finding, layers: Sequence[str]) -> Iterator[str]:
    """Where it is, and the numbers behind it."""
    if finding.layers:
        yield from wrapped(f"layers: {listed(finding.layers, layers)}")
    if finding.evidence:
        yield from wrapped(f"evidence: {evidence(finding)}")


def changes(finding: Finding, code_of: Callable[[Prescription], str]) -> Iterator[str]:
    """What to change, as code; a comment above each says what it does.

    code_of   of a remedy
    """
    several = len(finding.prescriptions) > 1
    for place, (text, one) in enumerate(zip(finding.advice, finding.prescriptions, strict=True), start=1):
        if several and place > 1:
            yield ""
        numbered = f"{place}. {text}" if several else text
        for number, line in enumerate(textwrap.wrap(numbered, WIDTH - 7, break_long_words=False)):
            yield f"  # {line}" if not number else f"  #    {line}"
        yield from (f"  {line}" for line in code_of(one).splitlines())


def coloured(text: str, healthy: bool | None) -> str:
    """A diagnosis for a terminal: its first line in the colour of the verdict, code apart from words."""
    verdict = {True: "32", False: "31", None: "33"}[healthy]

    def line(number: int, one: str) -> str:
        if not number or one.startswith(HEADINGS):
            return f"\033[1;{verdict if not number else 39}m{one}\033[0m"
        return f"\033[2m{one}\033[0m" if one.startswith("  #") else one

    return "\n".join(line(number, one) for number, one in enumerate(text.splitlines()))


def sentence(text: str) -> str:
    """With a capital, unless it begins with a name of Python's, and a full stop.

    >>> sentence("the loss falls"), sentence("cross_entropy takes logits")
    ('The loss falls.', 'cross_entropy takes logits.')
    """
    first = text.split(" ", 1)[0]
    return f"{text}." if "_" in first or "." in first else f"{text[:1].upper()}{text[1:]}."


def evidence(finding: Finding) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in finding.evidence.items())


def listed(layers: Sequence[str], order: Sequence[str]) -> str:
    """The layers' names; runs of more than four that follow one another as `first … last (n)`.

    >>> listed(["a", "b", "c", "d", "e", "g"], ["a", "b", "c", "d", "e", "f", "g"])
    'a … e (5), g'
    """
    at = {name: index for index, name in enumerate(order)}
    runs: list[list[str]] = []
    for name in layers:
        if runs and at.get(name, -2) == at.get(runs[-1][-1], -9) + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    parts = [", ".join(run) if len(run) < 5 else f"{run[0]} … {run[-1]} ({len(run)})" for run in runs]
    return ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")


def wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_long_words=False)
