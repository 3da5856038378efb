"""How the diagnosis does on the small programs with one fault each (`causes.py`), and on the same without it."""

from collections import defaultdict
from concurrent.futures import Executor
from dataclasses import dataclass

import torch

import unvanish as uv
from causes import CAUSES, as_it_should_be
from judged import interval


@dataclass(frozen=True)
class Judged:
    """`found` of the program with the fault, `alarm` of the one without."""

    found: str | None
    alarm: str | None


def judged(place: int) -> Judged:
    torch.set_num_threads(1)
    return Judged(_kind(place, True), _kind(place, False))


def _kind(place: int, failing: bool) -> str | None:
    cause = CAUSES[place]
    torch.manual_seed(0)
    given = cause.make(failing)
    if cause.loop is None:
        found = uv.check(given).primary
    else:
        with uv.watch(given["model"], given["optimizer"]) as flow:
            (cause.loop if failing else as_it_should_be)(given)
        found = flow.diagnose().primary
    return found.kind if found else None


def section(pool: Executor) -> list[str]:
    """Of the page in the docs."""
    results = list(pool.map(judged, range(len(CAUSES))))
    right = sum(one.found == cause.kind for one, cause in zip(results, CAUSES, strict=True))
    alarms = sum(one.alarm is not None for one in results)
    lines = [
        f"Right primary cause: {interval(right, len(CAUSES))}. Without the fault, alarms: "
        f"{interval(alarms, len(CAUSES))}.",
        "",
        "| kind | programs | found, by program | without the fault |",
        "| --- | --- | --- | --- |",
    ]
    by_kind: dict[str, list[Judged]] = defaultdict(list)
    for cause, one in zip(CAUSES, results, strict=True):
        by_kind[cause.kind].append(one)
    for kind, ones in by_kind.items():
        found = ", ".join("✓" if one.found == kind else f"**{one.found or 'nothing'}**" for one in ones)
        calm = ", ".join("–" if one.alarm is None else f"**{one.alarm}**" for one in ones)
        lines.append(f"| `{kind}` | {len(ones)} | {found} | {calm} |")
    return [*lines, ""]
