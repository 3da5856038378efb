"""How the diagnosis does on small programs with one fault each, and on the same without it.

Two sets: those written for this benchmark (`causes.py`), and public bug reports rebuilt small (`reports.py`).
"""

from collections import defaultdict
from concurrent.futures import Executor
from dataclasses import dataclass

import torch

import unvanish as uv
from causes import CAUSES, Cause, as_it_should_be
from judged import interval
from reports import REPORTS


@dataclass(frozen=True)
class Judged:
    """`found` of the program with the fault, `alarm` of the one without."""

    found: str | None
    alarm: str | None


def judged(place: int) -> Judged:
    """Of all programs, the causes first."""
    torch.set_num_threads(1)
    cause = [*CAUSES, *(cause for cause, _ in REPORTS)][place]
    return Judged(_kind(cause, True), _kind(cause, False))


def _kind(cause: Cause, failing: bool) -> str | None:
    torch.manual_seed(0)
    given = cause.make(failing)
    if cause.loop is None:
        found = uv.check(given).primary
    else:
        with uv.watch(given["model"], given["optimizer"]) as flow:
            (cause.loop if failing else as_it_should_be)(given)
        found = flow.diagnose().primary
    return found.kind if found else None


def sections(pool: Executor) -> tuple[list[str], list[str]]:
    """Of the page in the docs: the causes, and the reports."""
    results = list(pool.map(judged, range(len(CAUSES) + len(REPORTS))))
    return _of_causes(results[: len(CAUSES)]), _of_reports(results[len(CAUSES) :])


def _of_causes(results: list[Judged]) -> list[str]:
    right = sum(one.found == cause.kind for one, cause in zip(results, CAUSES, strict=True))
    by_kind: dict[str, list[Judged]] = defaultdict(list)
    for cause, one in zip(CAUSES, results, strict=True):
        by_kind[cause.kind].append(one)
    lines = [*_counts(right, results), "| kind | programs | found, by program | without the fault |"]
    lines.append("| --- | --- | --- | --- |")
    for kind, ones in by_kind.items():
        found = ", ".join("✓" if one.found == kind else f"**{one.found or 'nothing'}**" for one in ones)
        calm = ", ".join("–" if one.alarm is None else f"**{one.alarm}**" for one in ones)
        lines.append(f"| `{kind}` | {len(ones)} | {found} | {calm} |")
    return [*lines, ""]


def _of_reports(results: list[Judged]) -> list[str]:
    right = sum(one.found in kinds for one, (_, kinds) in zip(results, REPORTS, strict=True))
    lines = [*_counts(right, results), "| report | right | found | by | without the fault |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for one, (cause, kinds) in zip(results, REPORTS, strict=True):
        found = one.found if one.found in kinds else f"**{one.found or 'nothing'}**"
        alarm = "–" if one.alarm is None else f"**{one.alarm}**"
        lines.append(
            f"| {cause.name} | {', '.join(kinds)} | {found} | {'watch' if cause.loop else 'check'} | {alarm} |"
        )
    return [*lines, ""]


def _counts(right: int, results: list[Judged]) -> list[str]:
    alarms = sum(one.alarm is not None for one in results)
    return [
        f"Right primary cause: {interval(right, len(results))}. Without the fault, alarms: "
        f"{interval(alarms, len(results))}.",
        "",
    ]
