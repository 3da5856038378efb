"""Confirms the labels of the ward by training: the accuracy of every case on held-out images."""

import sys

import torch
from cases import ALL, Case, train

from unvanish.data.fashion_mnist import fashion_mnist, scaled


def ward_data(case):
    data = fashion_mnist()
    x = case.pixels((scaled(data.train.pixels_ND[:13_000]) - 0.2860) / 0.3530)
    y = data.train.labels_N[:13_000].clone()
    return x, y


def accuracy(case: Case, seed: int) -> float:
    torch.manual_seed(seed)
    model = case.build()
    x, y = ward_data(case)
    if case.before:
        case.before(model, x, y)
    optimizer = case.optimizer([p for p in model.parameters() if p.requires_grad])
    try:
        train(model, optimizer, x[:12_000], y[:12_000], 400, case.loss)
    except RuntimeError:
        return float("nan")
    with torch.no_grad():
        return (model(x[12_000:]).argmax(1) == y[12_000:]).float().mean().item()


if __name__ == "__main__":
    import time

    torch.set_num_threads(1)
    for case in ALL:
        if len(sys.argv) > 1 and not any(w in case.name for w in sys.argv[1:]):
            continue
        t = time.perf_counter()
        print(
            f"{case.name:45} {case.truth!s:12}",
            *[f"{accuracy(case, s):.3f}" for s in (0, 1, 2)],
            f"{time.perf_counter() - t:.0f}s",
            flush=True,
        )
