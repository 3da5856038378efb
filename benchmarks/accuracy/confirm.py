"""Confirms the labels of the benchmark by training: the accuracy of every case on 1,000 other images after 400 steps.

python benchmarks/accuracy/confirm.py [WORD …]   # cases whose name has one of the words; default all

The result is kept in `accuracy.json` beside this file; `run.py` shows it.
"""

import json
import sys
from pathlib import Path

import torch

from cases import ALL, Case
from subjects import SEEDS, STEPS, made_ready

KEPT = Path(__file__).with_name("accuracy.json")


def accuracy(case: Case, seed: int) -> float:
    """In percent. Where the loss cannot be differentiated nothing is learned."""
    subject = made_ready(case, seed)
    for x, y in subject.batches(STEPS):
        subject.optimizer.zero_grad()
        value = case.loss(subject.model(x), y)
        if value.requires_grad:
            value.backward()
            subject.optimizer.step()
    with torch.no_grad():
        right = subject.model(subject.held_x).argmax(1) == subject.held_y
    return round(100 * right.float().mean().item(), 1)


def main() -> None:
    torch.set_num_threads(1)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    names = {case.name for case in ALL}
    for case in ALL:
        if len(sys.argv) == 1 or any(word in case.name for word in sys.argv[1:]):
            kept[case.name] = [accuracy(case, seed) for seed in SEEDS]
            print(f"{case.name:45} {case.truth or 'healthy':12}", *kept[case.name], flush=True)
            KEPT.write_text(
                json.dumps({n: v for n, v in kept.items() if n in names}, indent=1, ensure_ascii=False) + "\n"
            )


if __name__ == "__main__":
    main()
