"""Repairs of the failing random networks (`generated.py`), beside what is often tried, at the same budget.

python benchmarks/accuracy/repairs.py tuned|held-out COUNT [WORKERS]   # so many failing networks of a half
python benchmarks/accuracy/repairs.py anyinit|autotrainer [WORKERS]   # one of these on those that are known

Each result is trained by this file's own loop for 400 steps from two seeds, and repaired if both reach the 70 % that
make a network healthy. `repair` and AutoTrainer's order (`autotrainer.py`) choose with trainings of 200 steps; AnyInit
is of the extra `bench`. Kept in `repairs.json`; `run.py` shows it.
"""

import copy
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import unvanish as uv
from autotrainer import parts_by_autotrainer
from generated import HEALTHY, HELD_OUT, STEPS, TRAIN, TUNED, Random, batches, generated, images, labels
from judged import interval
from unvanish.core.errors import UnvanishError
from unvanish.diagnosis.repair.candidates import BESIDE, UNIVERSAL
from unvanish.diagnosis.repair.change import Change

KEPT = Path(__file__).with_name("repairs.json")
HALVES = {"tuned": TUNED, "held-out": HELD_OUT}
WAYS = {  # and how many parts of the setup they change, where that is always the same
    "repair": None,
    "universal": 4,
    "AutoTrainer's order": None,
    "batch norm + Adam": 2,
    "AnyInit 0.4": 1,
    "random remedy": 1,
}
GIVEN, CHOSEN_BY = 90, 200  # batches that a repair is given, and steps of its trainings

Made = Callable[[], tuple[nn.Module, torch.optim.Optimizer]]


def trained(made: Made, seed: int) -> float:
    """Accuracy in percent after 400 steps of a plain loop."""
    torch.manual_seed(100_000 * seed)
    model, optimizer = made()
    model.train()
    for x, y in batches(STEPS, seed):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    x, y = images()
    with torch.no_grad():
        predicted = torch.cat([model(part) for part in x[TRAIN:].split(500)]).argmax(1)
    return round(100 * (predicted == y[TRAIN:]).float().mean().item(), 1)


def of_change(change: Change, network: Random) -> list[float] | None:
    """Of a change that is made without looking; `None` where it cannot be made, as one remedy after the other."""
    given = batches(1)[0][0]

    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(network.seed)
        model = network.build()
        optimizer: Any = network.optimizer_of(model)
        for part in change.parts:
            try:
                treated = Change((part,)).made(model, optimizer, functional.cross_entropy, given, 0)
            except UnvanishError:  # nothing to do
                continue
            model, optimizer = treated.model, treated.optimizer
        return model, optimizer

    return [trained(made, seed) for seed in (0, 1)]


def of_anyinit(network: Random) -> tuple[list[float] | None, int]:
    """Of AnyInit's initial weights, measured on a batch, with everything else as it is; `None` where it refuses."""
    import anyinit  # of the extra `bench`

    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(network.seed)
        model = network.build()
        anyinit.initialize(model, "empirical", batches(1)[0][0], seed=network.seed)
        return model, network.optimizer_of(model)

    try:
        return [trained(made, seed) for seed in (0, 1)], 1
    except anyinit.AnyInitError:
        return None, 0


def of_autotrainer(network: Random) -> tuple[list[float] | None, int]:
    """Of what AutoTrainer's order changes; the network as it is where that is nothing."""

    def made() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(network.seed)
        model = network.build()
        return model, network.optimizer_of(model)

    parts = parts_by_autotrainer(made, functional.cross_entropy, batches(CHOSEN_BY))
    return of_change(Change(parts), network), len(parts)


RIVALS = {"anyinit": ("AnyInit 0.4", of_anyinit), "autotrainer": ("AutoTrainer's order", of_autotrainer)}


def rival(word: str, seed: int) -> tuple[int, list[float] | None, int]:
    torch.set_num_threads(1)
    return seed, *RIVALS[word][1](generated(seed))


def mend(seed: int) -> tuple[int, dict[str, Any]]:
    torch.set_num_threads(1)
    network = generated(seed)
    torch.manual_seed(network.seed)
    model = network.build()
    began = time.perf_counter()
    repair = uv.repair(model, batches(GIVEN), functional.cross_entropy, network.optimizer_of(model), steps=CHOSEN_BY)
    seconds = round(time.perf_counter() - began, 1)
    found: dict[str, Any] = {
        "outcome": repair.outcome,
        "kind": repair.diagnosis.primary.kind if repair.diagnosis.primary else None,
        "change": str(repair.best.change) if repair.best else None,
        "parts": len(repair.best.change.parts) if repair.best else 0,
        "seconds": seconds,
    }
    if repair.best is not None:
        best = repair.best

        def made() -> tuple[nn.Module, torch.optim.Optimizer]:
            own, optimizer = copy.deepcopy((best.model, best.optimizer()))
            return own, optimizer

        found["repair"] = [trained(made, one) for one in (0, 1)]
    found["batch norm + Adam"] = of_change(BESIDE, network)
    found["universal"] = of_change(UNIVERSAL, network)
    chosen = next((one.change for one in repair.tried if one.role == "random remedy"), None)
    found["random remedy"] = of_change(chosen, network) if chosen else None
    return seed, found


def section() -> list[str]:
    """Of the page in the docs."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    lines = ["| half | way | repaired (both trainings reach 70 %) | parts changed |", "| --- | --- | --- | --- |"]
    wrong: list[str] = []
    for half, seeds in HALVES.items():
        mine = {int(seed): found for seed, found in kept.items() if int(seed) in seeds}
        for way, size in WAYS.items() if mine else ():
            good = [min(found.get(way) or [0.0]) >= HEALTHY for found in mine.values()]
            known = "parts" if way == "repair" else f"{way}, parts"
            parts = [found[known] for found in mine.values() if found.get(known)]
            mean = f"{sum(parts) / len(parts):.2f} in the mean" if parts and size is None else str(size or "–")
            lines.append(f"| {half} | {way} | {interval(sum(good), len(good))} | {mean} |")
        wrong += [
            f"- {half}: {generated(seed)}: **{found['outcome']}**, {found['change'] or 'nothing'} "
            f"{found.get('repair') or ''}"
            for seed, found in mine.items()
            if min(found.get("repair") or [0.0]) < HEALTHY
        ]
    return [*lines, "", "Not repaired:", "", *wrong, ""]


def keep(kept: dict[str, Any]) -> None:
    KEPT.write_text("{\n" + ",\n".join(f'"{seed}": {json.dumps(found)}' for seed, found in kept.items()) + "\n}\n")


def main(words: Sequence[str]) -> None:
    if words[0] in RIVALS:
        kept = json.loads(KEPT.read_text())
        way = RIVALS[words[0]][0]
        with ProcessPoolExecutor(int(words[1]) if len(words) > 1 else 1, mp_context=get_context("spawn")) as pool:
            for seed, found, parts in pool.map(partial(rival, words[0]), map(int, kept)):
                kept[str(seed)] |= {way: found, f"{way}, parts": parts}
                print(seed, generated(seed), found, parts, flush=True)
                keep(kept)
        print("\n".join(section()))
        return
    half, count = HALVES[words[0]], int(words[1])
    workers = int(words[2]) if len(words) > 2 else 1
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    failing = [seed for seed, truth in labels().items() if seed in half and truth is False][:count]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for seed, found in pool.map(mend, [seed for seed in failing if str(seed) not in kept]):
            kept[str(seed)] = found
            print(seed, generated(seed), found, flush=True)
            keep(kept)
    print("\n".join(section()))


if __name__ == "__main__":
    main(sys.argv[1:])
