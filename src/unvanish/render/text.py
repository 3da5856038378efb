"""Tables over layers and findings as text."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from io import StringIO

import numpy as np
from rich.console import Console
from rich.table import Table as TextTable

from unvanish.core.finding import Finding
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
SHOWN = 24  # layers; of more, the first and the last
WIDTH = 100
BAR, DECADES = 10, 8  # cells, and how many powers of ten they span
EIGHTHS = " ▏▎▍▌▋▊▉█"


def layer_table(table: Table) -> list[str]:
    """The last step of a table, a line a layer; nothing for a network without layers."""
    if not len(table):
        return []
    out = StringIO()
    console = Console(file=out, width=WIDTH + 20, color_system=None, highlight=False)
    console.print(_table(table))
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


def _table(table: Table) -> TextTable:
    shown = TextTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(COLUMNS):
        left = column in ("layer", "backward signal")
        shown.add_column(column, justify="left" if left else "right", no_wrap=index > 0, overflow="fold")
    cells = rows(table)
    skipped = 0
    for index, row in enumerate(cells):
        if len(cells) <= SHOWN or index < SHOWN // 2 or index >= len(cells) - SHOWN // 2:
            if skipped:
                shown.add_row(f"… {skipped} more")
                skipped = 0
            shown.add_row(*row)
        else:
            skipped += 1
    return shown


def finding_lines(finding: Finding, layers: Sequence[str]) -> Iterator[str]:
    """A finding in lines; `layers` are all layers in forward order."""
    sure = f"{finding.certainty:.0%} sure" if finding.sure else f"not sure, {finding.certainty:.0%}"
    whose = f", a consequence of {finding.because_of}" if finding.because_of else ""
    yield f"{finding.code} {finding.title} ({sure}{whose})"
    yield from wrapped(finding.message[:1].upper() + finding.message[1:] + ".")
    if not finding.because_of:
        if finding.layers:
            yield from wrapped(f"layers: {listed(finding.layers, layers)}")
        if finding.evidence:
            yield from wrapped(f"evidence: {evidence(finding)}")
        if finding.prescriptions:
            yield from wrapped(f"what helps: {'; '.join(finding.advice)}")
    yield ""


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


def wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False)
