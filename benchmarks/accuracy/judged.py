"""What `unvanish.check` says of the random networks whose labels are known (`generated.py`).

python benchmarks/accuracy/judged.py tuned|held-out [WORKERS]   # nine batches of 128 images each

No setting may be chosen on the held-out half, and every further run of it is said. Kept in `judged.json`; `run.py`
shows it.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from torch.nn import functional

import unvanish as uv
from generated import HELD_OUT, TUNED, batches, generated, labels

KEPT = Path(__file__).with_name("judged.json")
CHECKED = 9
HALVES = {"tuned": TUNED, "held-out": HELD_OUT}


def judge(seed: int) -> tuple[int, str | None, float, float]:
    """The kind of the primary finding, its certainty, and the seconds that it took."""
    torch.set_num_threads(1)
    network = generated(seed)
    torch.manual_seed(network.seed)
    model = network.build()
    began = time.perf_counter()
    found = uv.check(model, batches(CHECKED), functional.cross_entropy, network.optimizer_of(model)).primary
    seconds = round(time.perf_counter() - began, 1)
    return (seed, found.kind, found.certainty, seconds) if found else (seed, None, 0.0, seconds)


def interval(part: int, whole: int) -> str:
    """A share with its 95 % interval (Wilson 1927)."""
    if not whole:
        return "–"
    share, z2 = part / whole, 1.96**2
    centre, scale = (share + z2 / (2 * whole)), 1 + z2 / whole
    half = (z2 * (share * (1 - share) / whole + z2 / (4 * whole**2))) ** 0.5
    return f"{part}/{whole} ({share:.3f}, {(centre - half) / scale:.3f} to {(centre + half) / scale:.3f})"


def section() -> list[str]:
    """Of the page in the docs."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    truth = labels()
    lines = ["| half | failing: a sure finding | healthy: an alarm | kinds found |", "| --- | --- | --- | --- |"]
    wrong: list[str] = []
    for half, seeds in HALVES.items():
        mine = {int(seed): found for seed, found in kept.items() if int(seed) in seeds}
        failing = {seed: found for seed, found in mine.items() if truth.get(seed) is False}
        healthy = {seed: found for seed, found in mine.items() if truth.get(seed) is True}
        found = sum(kind is not None for kind, *_ in failing.values())
        alarms = sum(kind is not None for kind, *_ in healthy.values())
        kinds = Counter(kind for kind, *_ in failing.values() if kind)
        named = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        lines.append(f"| {half} | {interval(found, len(failing))} | {interval(alarms, len(healthy))} | {named} |")
        wrong += [f"- {half}: {generated(seed)}: **nothing**" for seed, (kind, *_) in failing.items() if kind is None]
        wrong += [f"- {half}: {generated(seed)}: healthy, **{kind}**" for seed, (kind, *_) in healthy.items() if kind]
    return [*lines, "", "What was not right:", "", *wrong, ""]


def main(words: Sequence[str]) -> None:
    half, workers = HALVES[words[0]], int(words[1]) if len(words) > 1 else 1
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    known = [seed for seed, truth in labels().items() if seed in half and truth is not None and str(seed) not in kept]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for seed, *found in pool.map(judge, known):
            kept[str(seed)] = found
            print(seed, "healthy" if labels()[seed] else "failing", generated(seed), *found, flush=True)
            KEPT.write_text(
                "{\n" + ",\n".join(f'"{seed}": {json.dumps(found)}' for seed, found in kept.items()) + "\n}\n"
            )
    print("\n".join(section()))


if __name__ == "__main__":
    main(sys.argv[1:])
