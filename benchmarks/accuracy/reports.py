"""Public bug reports ("my network does not learn"), rebuilt small, and the same with the remedy that was found there.

Fifteen, on FashionMNIST where they were about images. Each was confirmed by training.
"""
# N samples, T time

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from causes import Cause, Parts, never_cleared, parts, schedule_only
from generated import images

REPORTS: list[tuple[Cause, tuple[str, ...]]] = []  # with the kinds that are right, the first the most


def report(name: str, *kinds: str, loop: Callable[[Parts], None] | None = None) -> Callable[..., Any]:
    def keep(make: Callable[[bool], Parts]) -> Callable[[bool], Parts]:
        REPORTS.append((Cause(name, kinds[0], make, loop), kinds))
        return make

    return keep


def clothes(count: int, size: int = 64) -> list[tuple[Tensor, Tensor]]:
    x, y = images()
    return list(zip(x[:count].split(size), y[:count].split(size), strict=True))


def chain(*widths: int, between: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for into, out in pairwise(widths):
        layers += [nn.Linear(into, out), between()]
    return nn.Sequential(*layers[:-1])


def sgd(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), rate)


@report("01 softmax before CrossEntropyLoss", "output_activation")
def _(failing: bool) -> Parts:
    model = chain(784, 256, 128, 10)
    model = nn.Sequential(*model, nn.Softmax(1)) if failing else model
    return parts(model, clothes(6000), nn.CrossEntropyLoss(), optimizer=sgd(model, 0.01))


@report("02 MSELoss of (N, 1) against (N,)", "target_shape")
def _(failing: bool) -> Parts:
    x = torch.rand(2048, 3, generator=torch.Generator().manual_seed(1))
    y, model = x.sum(1), chain(3, 16, 1)
    batches = list(zip(x.split(128), (y if failing else y[:, None]).split(128), strict=True))
    return parts(model, batches, nn.MSELoss(), optimizer=sgd(model, 0.1))


class Ramp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.lstm(x)[0])


@report("03 gradients never cleared", "gradients_accumulate", loop=never_cleared)
def _(_failing: bool) -> Parts:
    x = torch.rand(1024, 21, 1, generator=torch.Generator().manual_seed(1)).cumsum(1) / 20
    return parts(Ramp(), list(zip(x.split(64), (x + 0.1).split(64), strict=True)), nn.MSELoss(), 5e-3)


class InAList(nn.Module):
    def __init__(self, failing: bool) -> None:
        super().__init__()
        layers = [nn.Linear(784, 64), *(nn.Linear(64, 64) for _ in range(3))]
        self.layers: Any = layers if failing else nn.ModuleList(layers)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)


@report("04 layers in a list", "untrained")
def _(failing: bool) -> Parts:
    return parts(InAList(failing), clothes(6000), nn.CrossEntropyLoss(), 1e-3)


@report("06 a distance of 0 under a root", "non_finite")
def _(failing: bool) -> Parts:
    def loss(embedding: Tensor, label: Tensor) -> Tensor:
        d2 = (embedding[:, None] - embedding[None]).square().sum(-1)
        d = (d2 + (0.0 if failing else 1e-6)).sqrt()
        same = (label[:, None] == label[None]).float()
        return (same * d + (1 - same) * functional.relu(2 - d)).mean()

    return parts(chain(784, 128, 16), clothes(4000), loss, 1e-3)


@report("07 Adam in float16", "precision")
def _(failing: bool) -> Parts:
    model = chain(784, 128, 128, 10).half()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, eps=1e-8 if failing else 1e-4)
    return parts(model, [(x.half(), y) for x, y in clothes(4000)], nn.CrossEntropyLoss(), optimizer=optimizer)


class PostNorm(nn.Module):
    def __init__(self, norm_first: bool, width: int = 32) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True, norm_first=norm_first)
        self.embed, self.place = nn.Linear(56, width), nn.Parameter(torch.randn(14, width) * 0.02)
        self.encoder = nn.TransformerEncoder(layer, 18, enable_nested_tensor=False)
        for parameter in self.encoder.parameters():  # the stacked layers are copies of one
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.encoder(self.embed(x.view(-1, 14, 56)) + self.place).mean(1)))


@report("08 18 post-norm layers without warm-up", "lr_high", "vanishing", "exploding")
def _(failing: bool) -> Parts:
    return parts(PostNorm(not failing), clothes(3000), nn.CrossEntropyLoss(), 3e-3)


class Sine(nn.Module):
    def __init__(self, into: int, out: int, first: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(into, out)
        bound = 1 / into if first else (6 / into) ** 0.5 / 30
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * self.linear(x))


@report("09 SIREN fed with pixel coordinates", "input_scale")
def _(failing: bool) -> Parts:
    steps = torch.arange(64.0)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).view(-1, 2)
    unit = grid / 31.5 - 1
    y = torch.sin(3 * unit[:, :1]) * torch.cos(4 * unit[:, 1:]) + 0.5 * (unit[:, :1] > 0.2).float()
    order = torch.randperm(4096, generator=torch.Generator().manual_seed(0))
    head = nn.Linear(64, 1)
    nn.init.uniform_(head.weight, -((6 / 64) ** 0.5) / 30, (6 / 64) ** 0.5 / 30)
    model = nn.Sequential(Sine(2, 64, True), Sine(64, 64), Sine(64, 64), head)
    batches = list(zip((grid if failing else unit)[order].split(256), y[order].split(256), strict=True))
    return parts(model, batches, nn.MSELoss(), 1e-3 if failing else 1e-4)


class Equation(nn.Module):
    """u″ = 0, u(0) = 0, u(length) = 1: gives the residual inside, and u at the two ends."""

    def __init__(self, length: float) -> None:
        super().__init__()
        self.length, self.net = length, chain(1, 20, 20, 20, 1, between=nn.Tanh)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.requires_grad_()
        (du,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
        (ddu,) = torch.autograd.grad(du.sum(), x, create_graph=True)
        return ddu, self.net(torch.tensor([[0.0], [self.length]]))


@report("10 an equation over a wide domain", "input_scale")
def _(failing: bool) -> Parts:
    def loss(output: tuple[Tensor, Tensor], _: Tensor) -> Tensor:
        return output[0].square().mean() + (output[1] - torch.tensor([[0.0], [1.0]])).square().mean()

    length, generator = 100.0 if failing else 1.0, torch.Generator().manual_seed(3)
    batches = [(torch.rand(64, 1, generator=generator) * length, torch.zeros(64, 1)) for _ in range(20)]
    return parts(Equation(length), batches, loss, 1e-3)


@report("12 triplets that become one point", "collapse", "lr_high")
def _(failing: bool) -> Parts:
    def loss(embedding: Tensor, label: Tensor) -> Tensor:
        d = ((embedding[:, None] - embedding[None]).square().sum(-1) + 1e-12).sqrt()
        same = label[:, None] == label[None]
        return functional.relu((d * same).amax(1) - (d + 1e6 * same).amin(1) + 0.5).mean()

    return parts(chain(784, 256, 128, 32), clothes(4000, 96), loss, 3e-2 if failing else 1e-4)


@report("16 x³ for x up to 4000", "target_scale", "input_scale")
def _(failing: bool) -> Parts:
    x = torch.randperm(4000, generator=torch.Generator().manual_seed(0)).float()[:, None] + 1
    y = x**3
    if not failing:
        x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    return parts(chain(1, 50, 1), list(zip(x.split(128), y.split(128), strict=True)), nn.MSELoss(), 3e-3)


@report("18 sorted and not shuffled", "data_order")
def _(failing: bool) -> Parts:
    x, y = (one[:6000] for one in images())
    order = y.argsort() if failing else torch.randperm(6000, generator=torch.Generator().manual_seed(0))
    model = chain(784, 128, 128, 10)
    batches = list(zip(x[order].split(64), y[order].split(64), strict=True))
    return parts(model, batches, nn.CrossEntropyLoss(), optimizer=sgd(model, 0.1))


@report("21 softmax over the batch", "batch_leak")
def _(failing: bool) -> Parts:
    def loss(p: Tensor, y: Tensor) -> Tensor:
        return functional.nll_loss((p + 1e-9).log(), y)

    model = nn.Sequential(*chain(784, 128, 128, 10, between=nn.LeakyReLU), nn.Softmax(0 if failing else 1))
    return parts(model, clothes(6000), loss, 1e-3)


@report("25 scheduler.step() in the place of optimizer.step()", "no_step", loop=schedule_only)
def _(_failing: bool) -> Parts:
    return parts(chain(784, 128, 10), clothes(4000), nn.CrossEntropyLoss(), 1e-3)


@report("29 running statistics that never came near", "eval_gap")
def _(failing: bool) -> Parts:
    momentum = 1e-4 if failing else 0.1

    def block(into: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(into, out, 3, 2, 1), nn.BatchNorm2d(out, momentum=momentum), nn.ReLU()]

    model = nn.Sequential(*block(1, 16), *block(16, 16), *block(16, 16), nn.Flatten(), nn.Linear(256, 10))
    batches = [(x.view(-1, 1, 28, 28) * 3 + 4, y) for x, y in clothes(4000)]
    return parts(model, batches, nn.CrossEntropyLoss(), 3e-3)
