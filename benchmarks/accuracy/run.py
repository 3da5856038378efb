"""How often the diagnosis is right, and the thresholds of others beside it: `make accuracy`.

python benchmarks/accuracy/run.py [--only WORD …] [--no-rivals] [--to docs/accuracy.md]
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

import case_repairs
import judged
import programs
import repairs
import unvanish as uv
from cases import ALL, FOUNDING, Case
from confirm import KEPT
from overhead import NETWORKS, check_seconds, overhead
from rivals import RIVALS, observed
from subjects import SEEDS, made_ready

CHECKED, WATCHED = 9, 50  # batches for `check`; steps for `watch` where `check` finds nothing
WORKERS = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Result:
    """One case with one seed."""

    case: str
    seed: int
    kind: str | None
    layers: tuple[str, ...]
    certainty: float
    seconds: float
    by: str
    rivals: dict[str, list[str]]


def examine(place: int, seed: int, with_rivals: bool) -> Result:
    torch.set_num_threads(1)
    case = ALL[place]
    subject = made_ready(case, seed)
    began = time.perf_counter()
    diagnosis = uv.check(subject.model, subject.batches(CHECKED), loss_fn=case.loss, optimizer=subject.optimizer)
    seconds, by = time.perf_counter() - began, "check"
    if case.truth is not None and diagnosis.healthy is not False:
        by, diagnosis = "watch", watched(case, seed)
    primary = diagnosis.primary
    steps = observed(case, seed) if with_rivals else []
    return Result(
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
    subject = made_ready(case, seed)
    with uv.watch(subject.model, subject.optimizer) as flow:
        for x, y in subject.batches(WATCHED):
            subject.optimizer.zero_grad()
            value = case.loss(subject.model(x), y)
            value.backward()
            subject.optimizer.step()
    return flow.diagnose()


def right(case: Case, one: Result) -> bool:
    return one.kind == case.truth


def named_rightly(case: Case, one: Result) -> bool:
    return bool(one.layers) and set(one.layers) <= set(case.where)


def share(part: int, whole: int) -> str:
    return f"{part}/{whole}" + (f" ({part / whole:.0%})" if whole else "")


def summary(results: list[Result]) -> list[str]:
    cases = {case.name: case for case in ALL}
    failing = [one for one in results if cases[one.case].truth]
    well = [one for one in results if not cases[one.case].truth]
    placed = [one for one in failing if cases[one.case].where]
    by_check = [one for one in failing if one.by == "check"]
    count, alarms = len(failing), share(sum(one.kind is not None for one in well), len(well))

    def counted(ones: list[Result]) -> str:
        found = share(sum(one.kind is not None for one in ones), count)
        return f"{found} | {share(sum(right(cases[one.case], one) for one in ones), count)}"

    lines = ["| | found | right primary cause | false alarms |", "| --- | --- | --- | --- |"]
    lines.append(f"| **unvanish** | {counted(failing)} | {alarms} |")
    lines.append(f"| of these, `check` alone | {counted(by_check)} | {alarms} |")
    for name in RIVALS if results and results[0].rivals else ():
        found = share(sum(bool(one.rivals[name]) for one in failing), count)
        among = share(sum(cases[one.case].truth in one.rivals[name] for one in failing), count)
        cried = share(sum(bool(one.rivals[name]) for one in well), len(well))
        lines.append(f"| {name} | {found} | {among}, among its flags | {cried} |")
    named = share(sum(named_rightly(cases[one.case], one) for one in placed), len(placed))
    seconds = [one.seconds for one in results]
    took = f"{statistics.median(seconds):.2f} s (median), {max(seconds):.1f} s at most"
    return [
        *lines,
        "",
        f"Layers named rightly, where only some are at fault: {named}.",
        f"A `check` took {took}, {WORKERS} at a time.",
    ]


def table(results: list[Result]) -> list[str]:
    accuracy = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    lines = ["| case | truth | accuracy, % | found, by seed | sure | by |", "| --- | --- | --- | --- | --- | --- |"]
    for case in ALL:
        mine = [one for one in results if one.case == case.name]
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
    results = []
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        for done, one in enumerate(pool.map(examine, *zip(*work, strict=True)), 1):
            results.append(one)
            case = next(case for case in ALL if case.name == one.case)
            word = "" if right(case, one) else "   <-- not right"
            found = f"{one.kind or '–':12} {one.seconds:5.2f} s {one.by}{word}"
            line = f"{done:3}/{len(work)}  {one.case:46} {case.truth or 'healthy':12} {found}"
            print(line, file=sys.stderr, flush=True)
        by_program = programs.sections(pool) if not options.only else None
    founding = {case.name for case in FOUNDING}
    mine = [one for one in results if one.case in founding]
    text = [f"## All {len({one.case for one in results})} cases, three seeds each", "", *summary(results), ""]
    if mine and len(mine) < len(results):
        text += [
            f"## Of these, the {len({one.case for one in mine})} that it was founded with",
            "",
            *summary(mine),
            "",
        ]
    if by_program:
        of_causes, of_reports = by_program
        text += ["## Public bug reports, rebuilt small", "", BUG_REPORTS, "", *of_reports]
        text += ["## Small programs with one fault each", "", PROGRAMS, "", *of_causes]
        text += ["## Random networks", "", RANDOM, "", *judged.section()]
        text += ["## Repairs of the failing random networks", "", REPAIRS, "", *repairs.section()]
        text += ["## Repairs of the failing cases", "", CASE_REPAIRS, "", *case_repairs.section()]
    if cost:
        text += ["## What they cost", "", *cost, ""]
    text += ["## Case by case", "", "What is not right is in bold.", "", *table(results), ""]
    print("\n".join(text))
    if options.to:
        head = HEAD.format(
            machine=f"{platform.processor() or platform.machine()}, {WORKERS} cores", torch=torch.__version__
        )
        options.to.write_text(head + "\n".join(text))


HEAD = """# Accuracy

```sh
make accuracy
```

runs `unvanish.check` on every network of `benchmarks/accuracy/cases.py` with three seeds (nine batches of 128 images of
FashionMNIST), and where it finds nothing in a failing one, 50 steps of training under `unvanish.watch`. Every label was
confirmed by training, 400 steps, with `python benchmarks/accuracy/confirm.py`: the accuracy is on 1,000 other images. A
broken graph may train well with what is left of it. Beside it the thresholds of other tools, re-implemented in
`benchmarks/accuracy/rivals.py` from what they publish, on 50 steps of the same trainings; of theirs, a right cause
counts wherever it is among the flags.

This file is written by that command. Machine: {machine}; torch {torch}.

"""

PROGRAMS = """Those of `benchmarks/accuracy/causes.py`: four to eleven for each kind that people bring, written for this
benchmark, and the same programs without the fault. They are tests, too, so every setting was chosen in their sight."""
BUG_REPORTS = """Those of `benchmarks/accuracy/reports.py`. Fifteen others, of the same kinds, are kept apart by whoever
judges this project."""
RANDOM = """Those of `benchmarks/accuracy/generated.py`: depth 3 to 60, nine activations, seven inits, norms, skips,
dropout, five optimizers, rates over 2.5 decades. A label is what two trainings of 400 steps agree on (failing: both at
30 % or less; healthy: both at 70 % or more). Every setting was chosen on the tuned half. The held-out half was judged
by `python benchmarks/accuracy/judged.py held-out`; this is its second run, after checks had changed for other reasons:
the first found 381 of 392, with 3 alarms. In brackets Wilson's 95 % interval."""

REPAIRS = """What `uv.repair` makes of failing networks of either half, by trainings of 200 steps on 90 batches; and
what else is tried: the universal cure, a skip at every layer, batch norm, Adam 1e-3 and no dropout; the changes that
AutoTrainer (Zhang et al. 2021) tries, in its order; batch norm with Adam; AnyInit; and a random remedy. Every result is
trained by the benchmark's own loop for 400 steps from two seeds (`python benchmarks/accuracy/repairs.py held-out
COUNT`). Where the diagnosis misses a failing network, nothing is repaired."""

CASE_REPAIRS = """What `uv.repair` makes of the failing cases of this benchmark, up to three seeds each, by trainings of
200 steps (`python benchmarks/accuracy/case_repairs.py`). Each result is trained by a plain loop for 400 steps.
Repaired: within 5 points of the better of 70 % and what the universal cure reaches on the same network."""

if __name__ == "__main__":
    main()
