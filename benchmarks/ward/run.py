"""The ward: what the doctor finds, misses and imagines, and the thresholds of others beside it: `make ward`.

python benchmarks/ward/run.py [--only WORD …] [--no-rivals] [--to docs/ward.md]
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

import unvanish as uv
from cases import ALL, FOUNDING, Case
from confirm import KEPT
from overhead import NETWORKS, check_seconds, overhead
from patients import SEEDS, admit
from rivals import RIVALS, observed

CHECKED, WATCHED = 9, 50  # batches for `check`; steps for `watch` where `check` finds nothing
WORKERS = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Visit:
    """One case with one seed."""

    case: str
    seed: int
    kind: str | None
    layers: tuple[str, ...]
    certainty: float
    seconds: float
    by: str
    rivals: dict[str, list[str]]


def visit(place: int, seed: int, with_rivals: bool) -> Visit:
    torch.set_num_threads(1)
    case = ALL[place]
    patient = admit(case, seed)
    began = time.perf_counter()
    diagnosis = uv.check(patient.model, patient.batches(CHECKED), loss=case.loss, optimizer=patient.optimizer)
    seconds, by = time.perf_counter() - began, "check"
    if case.truth is not None and not diagnosis.sick:
        by, diagnosis = "watch", watched(case, seed)
    primary = diagnosis.primary
    steps = observed(case, seed) if with_rivals else []
    return Visit(
        case.name,
        seed,
        primary.kind if primary else None,
        primary.layers if primary else (),
        primary.certainty if primary else 0.0,
        seconds,
        by,
        {name: sorted(rule(steps)) for name, rule in RIVALS.items()} if with_rivals else {},
    )


def watched(case: Case, seed: int) -> uv.Diagnosis:
    patient = admit(case, seed)
    with uv.watch(patient.model, patient.optimizer) as flow:
        for x, y in patient.batches(WATCHED):
            patient.optimizer.zero_grad()
            value = case.loss(patient.model(x), y)
            value.backward()
            patient.optimizer.step()
    return flow.diagnose()


def right(case: Case, one: Visit) -> bool:
    return one.kind == case.truth


def named_rightly(case: Case, one: Visit) -> bool:
    return bool(one.layers) and set(one.layers) <= set(case.where)


def share(part: int, whole: int) -> str:
    return f"{part}/{whole}" + (f" ({part / whole:.0%})" if whole else "")


def summary(visits: list[Visit]) -> list[str]:
    cases = {case.name: case for case in ALL}
    sick = [one for one in visits if cases[one.case].truth]
    well = [one for one in visits if not cases[one.case].truth]
    placed = [one for one in sick if cases[one.case].where]
    by_check = [one for one in sick if one.by == "check"]
    count, alarms = len(sick), share(sum(one.kind is not None for one in well), len(well))

    def counted(ones: list[Visit]) -> str:
        found = share(sum(one.kind is not None for one in ones), count)
        return f"{found} | {share(sum(right(cases[one.case], one) for one in ones), count)}"

    lines = ["| | found | right primary cause | false alarms |", "| --- | --- | --- | --- |"]
    lines.append(f"| **unvanish** | {counted(sick)} | {alarms} |")
    lines.append(f"| of these, `check` alone | {counted(by_check)} | {alarms} |")
    for name in RIVALS if visits and visits[0].rivals else ():
        found = share(sum(bool(one.rivals[name]) for one in sick), count)
        among = share(sum(cases[one.case].truth in one.rivals[name] for one in sick), count)
        cried = share(sum(bool(one.rivals[name]) for one in well), len(well))
        lines.append(f"| {name} | {found} | {among}, among its flags | {cried} |")
    named = share(sum(named_rightly(cases[one.case], one) for one in placed), len(placed))
    seconds = [one.seconds for one in visits]
    took = f"{statistics.median(seconds):.2f} s (median), {max(seconds):.1f} s at most"
    return [
        *lines,
        "",
        f"Layers named rightly, where only some are ill: {named}.",
        f"A `check` took {took}, {WORKERS} at a time.",
    ]


def table(visits: list[Visit]) -> list[str]:
    accuracy = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    lines = ["| case | truth | accuracy, % | found, by seed | sure | by |", "| --- | --- | --- | --- | --- | --- |"]
    for case in ALL:
        mine = [one for one in visits if one.case == case.name]
        if mine:
            kinds = ", ".join((one.kind or "–") if right(case, one) else f"**{one.kind or '–'}**" for one in mine)
            sure = ", ".join(f"{one.certainty:.2f}" if one.kind else "–" for one in mine)
            trained = ", ".join(f"{value:.0f}" for value in accuracy.get(case.name, []))
            by = ", ".join(sorted({one.by for one in mine}))
            lines.append(f"| {case.name} | {case.truth or 'healthy'} | {trained} | {kinds} | {sure} | {by} |")
    return lines


def costs() -> list[str]:
    lines = ["| network | default schedule | every step |", "| --- | --- | --- |"]
    for name in NETWORKS:
        default, every = overhead(name)
        lines.append(f"| {name} | {default:+.2%} | {every:+.1%} |")
    lines += ["", "And a `check`, on noise that nobody can learn from, so that it has to try everything:", ""]
    lines += ["| network | seconds |", "| --- | --- |"]
    return lines + [f"| {name} | {seconds:.1f} |" for name, seconds in check_seconds().items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="cases whose name has one of these")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--no-overhead", action="store_true")
    parser.add_argument("--to", type=Path, help="the Markdown file to write")
    options = parser.parse_args()
    chosen = [
        place for place, case in enumerate(ALL) if not options.only or any(word in case.name for word in options.only)
    ]
    torch.set_num_threads(1)
    cost = [] if options.no_overhead else costs()  # first, while the machine is ours
    work = [(place, seed, not options.no_rivals) for place in chosen for seed in SEEDS]
    visits = []
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        for done, one in enumerate(pool.map(visit, *zip(*work, strict=True)), 1):
            visits.append(one)
            case = next(case for case in ALL if case.name == one.case)
            word = "" if right(case, one) else "   <-- not right"
            found = f"{one.kind or '–':12} {one.seconds:5.2f} s {one.by}{word}"
            line = f"{done:3}/{len(work)}  {one.case:46} {case.truth or 'healthy':12} {found}"
            print(line, file=sys.stderr, flush=True)
    founding = {case.name for case in FOUNDING}
    mine = [one for one in visits if one.case in founding]
    text = [f"## All {len({one.case for one in visits})} cases, three seeds each", "", *summary(visits), ""]
    if mine and len(mine) < len(visits):
        text += [
            f"## Of these, the {len({one.case for one in mine})} that the ward was founded with",
            "",
            *summary(mine),
            "",
        ]
    if cost:
        text += ["## What they cost", "", *cost, ""]
    text += ["## Case by case", "", "What is not right is in bold.", "", *table(visits), ""]
    print("\n".join(text))
    if options.to:
        head = HEAD.format(
            machine=f"{platform.processor() or platform.machine()}, {WORKERS} cores", torch=torch.__version__
        )
        options.to.write_text(head + "\n".join(text))


HEAD = """# The ward

```sh
make ward
```

runs `unvanish.check` on every network of `benchmarks/ward/cases.py` with three seeds (nine batches of 128 images of
FashionMNIST), and where it finds nothing in a sick one, 50 steps of training under `unvanish.watch`. Every label was
confirmed by training, 400 steps, with `python benchmarks/ward/confirm.py`: the accuracy is on 1,000 other images. A
broken graph may train well with what is left of it. Beside it the thresholds of other tools, re-implemented in
`benchmarks/ward/rivals.py` from what they publish, on 50 steps of the same trainings; of theirs, a right cause counts
wherever it is among the flags.

This file is written by that command. Machine: {machine}; torch {torch}.

"""

if __name__ == "__main__":
    main()
