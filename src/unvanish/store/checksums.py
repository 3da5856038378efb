"""Checksums of what is kept, so that damage is noticed when it is read: SHA-256, as the store's columns have them.

A run's row has one over its own columns and its environment. One of these columns is the `history`, which runs over
the epochs and measurements in their order and so is carried on when some are added, without reading the others. Two
more are those of the run's files. What a list of runs would show without one of its rows is told by the total over all.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from unvanish.store.tables import FIGURES, events, runs

HEX = re.compile("[0-9a-f]{64}")
OF_A_RUN = tuple(column.name for column in runs.columns if column.name not in ("checksum", "environment"))
OF_AN_EVENT = tuple(column.name for column in events.columns if column.name not in ("id", "checksum"))


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=bytes.hex).encode


def of_bytes(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def of_values(*values: Any) -> str:
    """Of what JSON can hold, and bytes; the same before it is stored and after it is read."""
    return of_bytes(_encode(values).encode())


def of_run(row: Mapping[Any, Any], environment: str | None) -> str:
    """`row` by column, `environment` as its canonical JSON."""
    return of_values(environment, *(row[name] for name in OF_A_RUN))


def of_event(row: Mapping[Any, Any]) -> str:
    return of_values(*(row[name] for name in OF_AN_EVENT))


def carried_on(history: str, epochs: Iterable[Mapping[str, Any]], measured: Iterable[Mapping[str, Any]]) -> str:
    """The history with more: rows of `curve` and of `series`, in any order, of later epochs than those before."""
    steps: dict[tuple[int, int], tuple[list[Any], list[Any]]] = {}
    for row in epochs:
        figures, _ = steps.setdefault((row["stage"], row["epoch"]), ([], []))
        figures += [_kept(row[name]) for name in FIGURES]
    for row in measured:
        _, values = steps.setdefault((row["stage"], row["epoch"]), ([], []))
        values.append((row["quantity"], b"" if row["values"] is None else row["values"].astype("<f8").tobytes()))
    for step in sorted(steps):
        figures, values = steps[step]
        history = of_values(history, step, figures, sorted(values))
    return history


def total(checksums: Sequence[Any]) -> str:
    """Of all runs, in any order: the bits of their checksums, each added without carry."""
    found = 0
    for one in checksums:
        found ^= int(one if isinstance(one, str) and HEX.fullmatch(one) else of_values(repr(one)), 16)
    return f"{found:064x}"


def agree(compute: Callable[..., str], *values: Any, kept: Any) -> bool:
    """Whether what is read gives the checksum that was kept; damaged values may be of another type, or missing."""
    try:
        return compute(*values) == kept
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        return False


def _kept(value: float | None) -> float | None:
    """As a column of numbers gives it back: a NaN is stored as NULL."""
    return None if value is None or value != value else float(value) + 0.0  # and −0.0 comes back as 0.0
