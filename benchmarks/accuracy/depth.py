"""How deep a plain network can be that `repair` makes learn, from PyTorch's own initial weights.

python benchmarks/accuracy/depth.py [NAME …]     # Sigmoid-50 Tanh-200 Sigmoid-100 Tanh-1000

No skips and no norms at first, width 128 (1,000 layers: 64), batch 128, Adam at a usual rate for the depth. The result
is trained for 800 steps by this file's own loop, and asked on 2,000 test images.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional

import unvanish as uv
from generated import MEAN, STD
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.data.images import scaled

BATCH, STEPS, TEST = 128, 800, 2000
NETWORKS = {  # activation, depth, width, Adam's rate, steps of a repair's trainings
    "Sigmoid-50": (nn.Sigmoid, 50, 128, 3e-4, 200),
    "Tanh-200": (nn.Tanh, 200, 128, 1e-4, 100),
    "Sigmoid-100": (nn.Sigmoid, 100, 128, 3e-4, 200),
    "Tanh-1000": (nn.Tanh, 1000, 64, 1e-4, 50),
}


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    data = fashion_mnist()
    x, y = (scaled(data.train.pixels_ND) - MEAN) / STD, data.train.labels_N
    test, truth = (scaled(data.test.pixels_ND[:TEST]) - MEAN) / STD, data.test.labels_N[:TEST]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).split(BATCH)
    batches = [(x[place], y[place]) for place in order[:STEPS]]
    for name in names or list(NETWORKS):
        kind, depth, width, rate, steps = NETWORKS[name]
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for number in range(depth):
            layers += [nn.Linear(width if number else x.shape[1], width), kind()]
        model = nn.Sequential(*layers, nn.Linear(width, 10))
        began = time.perf_counter()
        optimizer = torch.optim.Adam(model.parameters(), rate)
        repair = uv.repair(model, batches[:120], functional.cross_entropy, optimizer, steps=steps)
        took = time.perf_counter() - began
        print(f"{name}: {repair.outcome} in {took:.0f} s: {repair.best.change if repair.best else repair}", flush=True)
        if repair.best is None:
            continue
        its, own = repair.best.model.train(), repair.best.optimizer()
        for step, (inputs, targets) in enumerate(batches, start=1):
            own.zero_grad()
            functional.cross_entropy(its(inputs), targets).backward()
            own.step()
            if step in (200, 400, STEPS):
                its.eval()
                with torch.no_grad():
                    right = (its(test).argmax(1) == truth).float().mean().item()
                its.train()
                print(f"  {step} steps: {right:.4f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
