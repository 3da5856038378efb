"""A diagnosis as text: a table over the layers in forward order, and the findings below it."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from unvanish.core.finding import Finding
from unvanish.core.reading import Reading

if TYPE_CHECKING:
    from unvanish.doctor.diagnosis import Diagnosis

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


def as_text(diagnosis: "Diagnosis") -> str:
    out = StringIO()
    console = Console(file=out, width=WIDTH + 20, color_system=None, highlight=False)
    if len(diagnosis.reading):
        console.print(_table(diagnosis))
    lines = [*out.getvalue().rstrip().splitlines(), ""] if len(diagnosis.reading) else []
    return "\n".join([*(line.rstrip() for line in lines), *verdict(diagnosis)])


def verdict(diagnosis: "Diagnosis") -> Iterator[str]:
    """The findings in lines, and a last word."""
    for finding in diagnosis.findings:
        yield from _told(finding, diagnosis)
    if diagnosis.unseen:
        yield from _wrapped(f"Not measured, since their operations are not known: {', '.join(diagnosis.unseen)}.")
        yield ""
    tried = f"{diagnosis.steps} optimizer step{'s' * (diagnosis.steps != 1)} on copies"
    if diagnosis.sick:
        if diagnosis.steps:
            yield f"{diagnosis.title} is sick (seen in {tried})."
        else:
            yield f"{diagnosis.title} is sick."
    elif diagnosis.learns:
        yield f"{diagnosis.title} is healthy: it learned in {tried}."
    elif diagnosis.learns_at:
        yield (
            f"{diagnosis.title} is slow, not sick: in {tried} it learned at {number(diagnosis.learns_at[0])} times its "
            "learning rate, and not yet as it is."
        )
    elif diagnosis.learns is False:
        yield (
            f"Not sure: {diagnosis.title} did not learn in {tried}, but nothing that was measured tells why. "
            "Give more steps, or look at the data and the targets."
        )
    else:
        yield f"Nothing is plainly wrong with {diagnosis.title}; whether it learns could not be seen{_why(diagnosis)}."


def _why(diagnosis: "Diagnosis") -> str:
    return f" in {diagnosis.steps} steps on copies" if diagnosis.steps else ""


def rows(reading: Reading) -> list[tuple[str, ...]]:
    """By `COLUMNS`."""
    signal = reading.backward_norm_L
    strongest = signal[np.isfinite(signal)].max(initial=0.0)
    return [
        (
            name,
            number(reading.activation_rms_L[index]),
            number(reading.forward_factor_L[index]),
            number(reading.backward_rms_L[index]),
            number(reading.backward_factor_L[index]),
            bar(signal[index] / strongest if strongest > 0 else math.nan),
            number(reading.gradient_norm_L[index]),
            number(reading.update_ratio_L[index]),
            percent(reading.saturated_L[index]),
            percent(reading.dead_L[index]),
        )
        for index, name in enumerate(reading.layers)
    ]


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


def _table(diagnosis: "Diagnosis") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(COLUMNS):
        left = column in ("layer", "backward signal")
        table.add_column(column, justify="left" if left else "right", no_wrap=index > 0, overflow="fold")
    cells = rows(diagnosis.reading)
    skipped = 0
    for index, row in enumerate(cells):
        if len(cells) <= SHOWN or index < SHOWN // 2 or index >= len(cells) - SHOWN // 2:
            if skipped:
                table.add_row(f"… {skipped} more")
                skipped = 0
            table.add_row(*row)
        else:
            skipped += 1
    return table


def _told(finding: Finding, diagnosis: "Diagnosis") -> Iterator[str]:
    from unvanish.doctor.checks import ALL

    title = next(check.title for check in ALL if check.code == finding.code)
    sure = f"{finding.certainty:.0%} sure" if finding.sure else f"not sure, {finding.certainty:.0%}"
    whose = f", a consequence of {finding.because_of}" if finding.because_of else ""
    yield f"{finding.code} {title} ({sure}{whose})"
    yield from _wrapped(finding.message[:1].upper() + finding.message[1:] + ".")
    if finding.because_of:
        yield ""
        return
    if finding.layers:
        yield from _wrapped(f"layers: {listed(finding.layers, diagnosis.reading.layers)}")
    if finding.evidence:
        yield from _wrapped(
            "evidence: " + ", ".join(f"{k.replace('_', ' ')} {number(v)}" for k, v in finding.evidence.items())
        )
    if finding.remedies:
        yield from _wrapped(f"remedies: {'; '.join(finding.remedies)}")
    yield ""


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


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False)
