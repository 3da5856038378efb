"""Small programs, each with one fault of a kind that people bring, and the same without it: four to eleven a kind.

Their data are drawn, so that they need no download. `make(failing)` gives what `unvanish.check` takes; where the loop
is the fault, `loop` is how it goes wrong, for `unvanish.watch`.
"""
# N samples, T time, D features

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Parts = dict[str, Any]
BATCHES, SIZE, WIDTH, CLASSES = 9, 64, 16, 4


@dataclass(frozen=True)
class Cause:
    name: str
    kind: str
    make: Callable[[bool], Parts]
    loop: Callable[[Parts], None] | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def classes(count: int = BATCHES, size: int = SIZE) -> list[tuple[Tensor, Tensor]]:
    """Which of the first four features is the largest."""
    x = torch.randn(count, size, WIDTH, generator=_generator())
    return [(one, one[:, :CLASSES].argmax(1)) for one in x]


def numbers(count: int = BATCHES, size: int = SIZE) -> list[tuple[Tensor, Tensor]]:
    """Two features and their product, (N, 1)."""
    x = torch.randn(count, size, WIDTH, generator=_generator())
    return [(one, one[:, :1] + 0.5 * one[:, 1:2] * one[:, 2:3]) for one in x]


def binary(count: int = BATCHES) -> list[tuple[Tensor, Tensor]]:
    return [(x, (y == 0).float()[:, None]) for x, y in classes(count)]


def mlp(out: int = CLASSES, *ending: nn.Module, width: int = 32, into: int = WIDTH) -> nn.Sequential:
    return nn.Sequential(nn.Linear(into, width), nn.ReLU(), nn.Linear(width, out), *ending)


def parts(model: nn.Module, batches: Any, loss: Any, rate: float = 1e-2, optimizer: Any = None) -> Parts:
    made = optimizer if optimizer is not None else torch.optim.Adam(model.parameters(), rate)
    return {"model": model, "batches": batches, "loss_fn": loss, "optimizer": made}


CAUSES: list[Cause] = []


def cause(kind: str, name: str, loop: Callable[[Parts], None] | None = None) -> Callable[..., Any]:
    def keep(make: Callable[[bool], Parts]) -> Callable[[bool], Parts]:
        CAUSES.append(Cause(name, kind, make, loop))
        return make

    return keep


# output_activation

CE, MSE, BCE = nn.CrossEntropyLoss(), nn.MSELoss(), nn.BCEWithLogitsLoss()


@cause("output_activation", "softmax before CrossEntropyLoss")
def _(failing: bool) -> Parts:
    return parts(mlp(CLASSES, *([nn.Softmax(1)] if failing else [])), classes(), CE)


class Functional(nn.Module):
    """Ends in a function."""

    def __init__(self, out: int, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.end = mlp(out), end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.net(x))


@cause("output_activation", "F.softmax before F.cross_entropy")
def _(failing: bool) -> Parts:
    end = (lambda z: functional.softmax(z, -1)) if failing else (lambda z: functional.log_softmax(z, -1))
    return parts(Functional(CLASSES, end), classes(), functional.cross_entropy)


@cause("output_activation", "sigmoid before BCEWithLogitsLoss")
def _(failing: bool) -> Parts:
    return parts(mlp(1, *([nn.Sigmoid()] if failing else [])), binary(), BCE)


@cause("output_activation", "NLLLoss on logits")
def _(failing: bool) -> Parts:
    return parts(mlp(CLASSES, *([] if failing else [nn.LogSoftmax(1)])), classes(), nn.NLLLoss())


@cause("output_activation", "NLLLoss on probabilities")
def _(failing: bool) -> Parts:
    return parts(mlp(CLASSES, nn.Softmax(1) if failing else nn.LogSoftmax(1)), classes(), nn.NLLLoss())


@cause("output_activation", "softmax over one unit")
def _(failing: bool) -> Parts:
    return parts(mlp(1, nn.Softmax(1) if failing else nn.Sigmoid()), binary(), nn.BCELoss())


@cause("output_activation", "cross-entropy of one unit")
def _(failing: bool) -> Parts:
    return parts(mlp(1 if failing else 2), [(x, (0 * y if failing else y > 1).long()) for x, y in classes()], CE)


@cause("output_activation", "tanh before targets of ±3")
def _(failing: bool) -> Parts:
    batches = [(x, 3 * y) for x, y in numbers()]
    return parts(mlp(1, *([nn.Tanh()] if failing else [])), batches, MSE)


@cause("output_activation", "ReLU before negative targets")
def _(failing: bool) -> Parts:
    batches = [(x, y - 3) for x, y in numbers()]
    return parts(mlp(1, *([nn.ReLU()] if failing else [])), batches, nn.L1Loss())


@cause("output_activation", "sigmoid before targets of 0 to 10")
def _(failing: bool) -> Parts:
    batches = [(x, 5 + 2 * y.tanh()) for x, y in numbers()]
    return parts(mlp(1, *([nn.Sigmoid()] if failing else [])), batches, nn.SmoothL1Loss())


@cause("output_activation", "BCELoss on logits")
def _(failing: bool) -> Parts:
    return parts(mlp(1, *([] if failing else [nn.Sigmoid()])), binary(), nn.BCELoss())


# target_shape


@cause("target_shape", "(N, 1) against (N,), MSELoss")
def _(failing: bool) -> Parts:
    return parts(mlp(1), [(x, y[:, 0] if failing else y) for x, y in numbers()], MSE)


@cause("target_shape", "(N,) against (N, 1), L1Loss")
def _(failing: bool) -> Parts:
    return parts(mlp(1, nn.Flatten(0)), [(x, y if failing else y[:, 0]) for x, y in numbers()], nn.L1Loss())


@cause("target_shape", "a difference by hand")
def _(failing: bool) -> Parts:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return ((output - target) ** 2).mean()

    return parts(mlp(1), [(x, y[:, 0] if failing else y) for x, y in numbers()], loss)


@cause("target_shape", "smooth L1 of squeezed outputs")
def _(failing: bool) -> Parts:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return functional.smooth_l1_loss(output.squeeze(-1), target)

    return parts(mlp(1), [(x, y if failing else y[:, 0]) for x, y in numbers()], loss)


@cause("target_shape", "advantages (N, 1) with log-probabilities (N,)")
def _(failing: bool) -> Parts:
    def loss(output: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        action, advantage = target
        chosen = functional.log_softmax(output, -1).gather(1, action[:, None]).squeeze(1)
        return -(chosen * (advantage if failing else advantage[:, 0])).mean()

    generator = _generator(1)
    batches = []
    for x, y in classes():
        action = torch.randint(0, CLASSES, (SIZE,), generator=generator)
        batches.append((x, (action, (action == y).float()[:, None] - 0.25)))
    return parts(mlp(), batches, loss)


# target_scale


def _prices(scale: float, shift: float, rate: float, loss: Any = MSE, sgd: bool = False) -> Callable[[bool], Parts]:
    def make(failing: bool) -> Parts:
        model = mlp(1)
        batches = [(x, y * scale + shift if failing else y) for x, y in numbers()]
        optimizer = torch.optim.SGD(model.parameters(), rate) if sgd else None
        return parts(model, batches, loss, rate, optimizer)

    return make


cause("target_scale", "prices of 250,000")(_prices(5e4, 2.5e5, 1e-3))
cause("target_scale", "1e10")(_prices(1e10, 0.0, 1e-2))
cause("target_scale", "prices, L1Loss")(_prices(1e4, 1e5, 1e-3, nn.L1Loss()))
cause("target_scale", "an offset of 5,000")(_prices(1.0, 5e3, 1e-3))
cause("target_scale", "thousands by SGD")(_prices(3e3, 1e4, 1e-2, MSE, sgd=True))


# untrained


class Listed(nn.Module):
    def __init__(self, failing: bool, kind: str) -> None:
        super().__init__()
        layers = [nn.Linear(WIDTH, 32), nn.Linear(32, 32)]
        named = {"first": layers[0], "second": layers[1]}
        self.kind = kind
        if kind == "list":
            self.layers = layers if failing else nn.ModuleList(layers)
        elif kind == "dict":
            self.named = named if failing else nn.ModuleDict(named)
        else:
            weight = torch.randn(32, WIDTH, generator=_generator()) * 0.2
            self.weight = weight.requires_grad_() if failing else nn.Parameter(weight)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "list":
            for layer in self.layers:
                x = layer(x).relu()
        elif self.kind == "dict":
            x = self.named["second"](self.named["first"](x).relu()).relu()
        else:
            x = functional.linear(x, self.weight).relu()
        return self.head(x)


for _kind in ("list", "dict", "tensor"):
    cause("untrained", f"layers in a {_kind}")(lambda failing, kind=_kind: parts(Listed(failing, kind), classes(), CE))


@cause("untrained", "optimizer made before the head was replaced")
def _(failing: bool) -> Parts:
    model = mlp(7)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    model[2] = nn.Linear(32, CLASSES)
    return parts(model, classes(), CE, optimizer=optimizer if failing else torch.optim.Adam(model.parameters(), 1e-2))


@cause("untrained", "the optimizer holds the first layer only")
def _(failing: bool) -> Parts:
    model = mlp()
    return parts(model, classes(), CE, optimizer=torch.optim.Adam((model[0] if failing else model).parameters(), 1e-2))


@cause("untrained", "everything frozen")
def _(failing: bool) -> Parts:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    model.requires_grad_(not failing)
    return parts(model, classes(), CE, optimizer=optimizer)


@cause("untrained", "the optimizer of another model")
def _(failing: bool) -> Parts:
    model = mlp()
    return parts(model, classes(), CE, optimizer=torch.optim.Adam((mlp() if failing else model).parameters(), 1e-2))


# batch_leak


@cause("batch_leak", "softmax over dim 0")
def _(failing: bool) -> Parts:
    def loss(p: Tensor, y: Tensor) -> Tensor:
        return functional.nll_loss((p + 1e-9).log(), y)

    return parts(mlp(CLASSES, nn.Softmax(0 if failing else 1)), classes(), loss)


class Recurrent(nn.Module):
    def __init__(self, failing: bool, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.inner, self.head = kind(4, 24, batch_first=not failing), nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x.view(len(x), 4, 4))[0].mean(1))


for _rnn in (nn.LSTM, nn.GRU):
    cause("batch_leak", f"{_rnn.__name__} without batch_first")(
        lambda failing, kind=_rnn: parts(Recurrent(failing, kind), classes(), CE)
    )


class Attention(nn.Module):
    def __init__(self, failing: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(4, 16), nn.Linear(64, CLASSES)
        self.attend = nn.MultiheadAttention(16, 2, batch_first=not failing)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.view(len(x), 4, 4))
        return self.head((h + self.attend(h, h, h)[0]).flatten(1))


@cause("batch_leak", "attention without batch_first")
def _(failing: bool) -> Parts:
    return parts(Attention(failing), classes(), CE)


class Mixed(nn.Module):
    """A view where a permutation is meant."""

    def __init__(self, failing: bool) -> None:
        super().__init__()
        self.failing, self.net = failing, nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.view(len(x), 2, 8).transpose(0, 1)  # 2, N, 8
        channels = channels.reshape(len(x), 2, 8) if self.failing else channels.transpose(0, 1)
        return self.net(channels).mean(1)


@cause("batch_leak", "a reshape that mixes")
def _(failing: bool) -> Parts:
    return parts(Mixed(failing), classes(), CE)


# eval_gap


def _norms(kind: str) -> Callable[[bool], Parts]:
    def make(failing: bool) -> Parts:
        momentum = 1e-4 if failing else 0.1
        first: list[nn.Module] = [nn.BatchNorm1d(WIDTH, momentum=momentum)] if kind != "inside" else []
        inside: list[nn.Module] = [nn.BatchNorm1d(32, momentum=momentum)] if kind != "first" else []
        model = nn.Sequential(*first, nn.Linear(WIDTH, 32), *inside, nn.Tanh(), nn.Linear(32, CLASSES))
        return parts(model, [(x * 3 + 60, y) for x, y in classes()], CE)

    return make


for _place in ("inside", "both"):
    cause("eval_gap", f"momentum 1e-4, {_place}")(_norms(_place))


class Modes(nn.Module):
    """Forgets a step of its training in `eval()`."""

    def __init__(self, failing: bool, what: str) -> None:
        super().__init__()
        self.failing, self.what, self.net, self.drop = failing, what, mlp(), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(x)
        if self.failing and not self.training:
            x = x.flip(1) if self.what == "order" else x * 0
        return self.net(x)


for _what in ("order", "nothing"):
    cause("eval_gap", f"another input in eval(): {_what}")(
        lambda failing, what=_what: parts(Modes(failing, what), classes(), CE)
    )


# imbalance


def _rare(share: float, out: int, weak: float) -> Callable[[bool], Parts]:
    def make(failing: bool) -> Parts:
        x = torch.randn(40, SIZE, WIDTH, generator=_generator())
        score = x[..., :3].prod(-1) + weak * torch.randn(40, SIZE, generator=_generator(1))
        score = score if failing else x[..., 0]
        cut = score.flatten().kthvalue(round((1 - (share if failing else 0.5)) * score.numel())).values
        y = score > cut
        batches = [(one, its.long() if out == 2 else its.float()[:, None]) for one, its in zip(x, y, strict=True)]
        return parts(mlp(out), batches, CE if out == 2 else BCE, 4e-3 if failing else 1e-2)

    return make


for _share, _out in ((0.02, 2), (0.02, 1), (0.01, 2), (0.01, 1)):
    cause("imbalance", f"{_share:.0%} of positives, {_out} outputs")(_rare(_share, _out, 0.5))


@cause("imbalance", "0.4 % of positive pixels")
def _(failing: bool) -> Parts:
    x = torch.randn(9, 16, 1, 16, 16, generator=_generator())
    low = functional.avg_pool2d(x.flatten(0, 1), 3, 1, 1)
    cut = low.flatten().kthvalue(round((0.996 if failing else 0.5) * low.numel())).values
    y = (low > cut).float().view(9, 16, 1, 16, 16)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    return parts(model, list(zip(x, y, strict=True)), BCE, 1e-3)


# data_order


def _sorted(size: int, count: int, binary: bool = False, loader: bool = False) -> Callable[[bool], Parts]:
    def make(failing: bool) -> Parts:
        x, y = (torch.cat(column) for column in zip(*classes(count * size // SIZE, SIZE), strict=True))
        y = (y > 1).long() if binary else y
        order = y.argsort(stable=True) if failing else torch.arange(len(y))
        x, y = x[order], y[order]
        data = torch.utils.data.TensorDataset(x, y)
        batches: Any = list(zip(x.split(size), y.split(size), strict=True))
        return parts(mlp(2 if binary else CLASSES), torch.utils.data.DataLoader(data, size) if loader else batches, CE)

    return make


cause("data_order", "sorted by class")(_sorted(64, 40))
cause("data_order", "sorted, small batches")(_sorted(16, 80))
cause("data_order", "two classes, one after the other")(_sorted(64, 40, binary=True))
cause("data_order", "a DataLoader that does not shuffle")(_sorted(64, 40, loader=True))
cause("data_order", "sorted, few batches")(_sorted(64, 12))


# labels


def _targets(change: Callable[[Tensor, Tensor], Tensor], model: Callable[[], nn.Module], loss: Any, well: Any) -> Any:
    def make(failing: bool) -> Parts:
        return parts(model(), [(x, change(x, y) if failing else well(y)) for x, y in classes()], loss)

    return make


cause("labels", "all the same")(_targets(lambda x, y: 0 * y, mlp, CE, lambda y: y))
cause("labels", "an index beyond the classes")(_targets(lambda x, y: y + 1, mlp, CE, lambda y: y))
cause("labels", "−1 and 1 under a sigmoid")(
    _targets(
        lambda x, y: 2 * (y == 0).float()[:, None] - 1,
        lambda: mlp(1, nn.Sigmoid()),
        MSE,
        lambda y: (y == 0).float()[:, None],
    )
)
cause("labels", "−1 and 1, BCEWithLogitsLoss")(
    _targets(lambda x, y: 2 * (y == 0).float()[:, None] - 1, lambda: mlp(1), BCE, lambda y: (y == 0).float()[:, None])
)
cause("labels", "constant numbers")(
    _targets(lambda x, y: torch.full((len(y), 1), 2.5), lambda: mlp(1), MSE, lambda y: y.float()[:, None])
)


# regularisation


def deep(depth: int, width: int, *between: Callable[[], nn.Module], into: int = WIDTH) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(width if number else into, width), *(make() for make in between)]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def _dropped(p: float, depth: int, activation: type[nn.Module]) -> Callable[[bool], Parts]:
    def make(failing: bool) -> Parts:
        return parts(deep(depth, 64, activation, lambda: nn.Dropout(p if failing else 0.0)), classes(), CE, 1e-3)

    return make


cause("regularisation", "dropout 0.5 at each of 12 layers")(_dropped(0.5, 12, nn.ReLU))
cause("regularisation", "dropout 0.9")(_dropped(0.9, 4, nn.ReLU))
cause("regularisation", "dropout 0.3 at each of 16 layers")(_dropped(0.3, 16, nn.LeakyReLU))


def _decayed(decay: float, optimizer: type[torch.optim.Optimizer], rate: float) -> Callable[[bool], Parts]:
    def make(failing: bool) -> Parts:
        model = mlp()
        options: dict[str, Any] = {"lr": rate, "weight_decay": decay if failing else 0.0}
        return parts(model, classes(), CE, optimizer=optimizer(model.parameters(), **options))

    return make


cause("regularisation", "weight decay 1, SGD")(_decayed(1.0, torch.optim.SGD, 0.1))
cause("regularisation", "weight decay 60, AdamW")(_decayed(60.0, torch.optim.AdamW, 1e-2))


# precision


def _half(
    dtype: torch.dtype, optimizer: Callable[..., torch.optim.Optimizer], loss: Any = CE
) -> Callable[[bool], Parts]:
    def make(failing: bool) -> Parts:
        dtype_now = dtype if failing else torch.float32
        model = mlp().to(dtype_now)
        batches = [(x.to(dtype_now), y) for x, y in classes()]
        return parts(model, batches, loss, optimizer=optimizer(model.parameters()))

    return make


cause("precision", "Adam's eps in float16")(_half(torch.float16, lambda p: torch.optim.Adam(p, 1e-2)))
cause("precision", "AdamW's eps in float16")(_half(torch.float16, lambda p: torch.optim.AdamW(p, 1e-2)))
cause("precision", "RMSprop's eps in float16")(_half(torch.float16, lambda p: torch.optim.RMSprop(p, 1e-2)))
cause("precision", "gradients that underflow")(
    _half(torch.float16, lambda p: torch.optim.SGD(p, 6e4), lambda z, y: functional.cross_entropy(z, y) * 1e-6)
)


@cause("precision", "updates lost in bfloat16")
def _(failing: bool) -> Parts:
    model = mlp().to(torch.bfloat16 if failing else torch.float32)
    batches = [(x.to(torch.bfloat16) if failing else x, y) for x, y in classes()]
    rate = 1e-5 if failing else 1e-2
    return parts(model, batches, CE, optimizer=torch.optim.Adam(model.parameters(), rate))


# gradients_accumulate, no_step: by watch


def steps_of(given: Parts, count: int = 24) -> Iterator[tuple[Tensor, Tensor]]:
    batches = list(given["batches"])
    return (batches[step % len(batches)] for step in range(count))


def never_cleared(given: Parts) -> None:
    for x, y in steps_of(given):
        given["loss_fn"](given["model"](x), y).backward()
        given["optimizer"].step()


def cleared_before_all(given: Parts) -> None:
    given["optimizer"].zero_grad()
    never_cleared(given)


def never_stepped(given: Parts) -> None:
    for x, y in steps_of(given):
        given["optimizer"].zero_grad()
        given["loss_fn"](given["model"](x), y).backward()


def schedule_only(given: Parts) -> None:
    schedule = torch.optim.lr_scheduler.StepLR(given["optimizer"], 10)
    for x, y in steps_of(given):
        given["model"].zero_grad()
        given["loss_fn"](given["model"](x), y).backward()
        schedule.step()


def as_it_should_be(given: Parts) -> None:
    for x, y in steps_of(given):
        given["optimizer"].zero_grad()
        given["loss_fn"](given["model"](x), y).backward()
        given["optimizer"].step()


def _well(_failing: bool) -> Parts:
    return parts(mlp(), classes(), CE)


def _by_sgd(_failing: bool) -> Parts:
    model = mlp()
    return parts(model, classes(), CE, optimizer=torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))


def _recurrent(_failing: bool) -> Parts:
    return parts(Recurrent(False, nn.LSTM), classes(), CE)


for _name, _make in (("Adam", _well), ("SGD", _by_sgd), ("LSTM", _recurrent)):
    cause("gradients_accumulate", f"never cleared, {_name}", never_cleared)(_make)
    cause("no_step", f"no optimizer.step(), {_name}", never_stepped)(_make)
for _name, _make in (("Adam", _well), ("SGD", _by_sgd)):
    cause("gradients_accumulate", f"cleared before the loop, {_name}", cleared_before_all)(_make)
cause("no_step", "scheduler.step() only", schedule_only)(_well)


@cause("no_step", "a rate of 0")
def _(failing: bool) -> Parts:
    return parts(mlp(), classes(), CE, 0.0 if failing else 1e-2)


# and of the older kinds: what becomes one in training; NaN of the loss


@cause("collapse", "two views pulled together, nothing pushed apart")
def _(failing: bool) -> Parts:
    def loss(embedding: Tensor, _: Any) -> Tensor:
        one, two = embedding.chunk(2)
        pull = (one - two).square().mean()
        return pull if failing else pull + functional.relu(1 - embedding.std(0)).mean()

    noise = [0.5 * torch.randn(SIZE, WIDTH, generator=_generator(1)) for _ in range(BATCHES)]
    batches = [(torch.cat([x, x + its]), None) for (x, _), its in zip(classes(), noise, strict=True)]
    return parts(mlp(8), batches, loss)


class Latent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = mlp(8), mlp(WIDTH, into=4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encode(x).chunk(2, 1)
        return self.decode(mean + (log_variance / 2).exp() * torch.randn_like(mean)), mean, log_variance


@cause("collapse", "a latent that its decoder ignores")
def _(failing: bool) -> Parts:
    def loss(out: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
        divergence = -0.5 * (1 + out[2] - out[1].square() - out[2].exp()).sum(1).mean()
        return MSE(out[0], x) + (10.0 if failing else 1e-3) * divergence

    return parts(Latent(), [(x + 1, x + 1) for x, _ in classes()], loss)


def _rooted(eps: float) -> Any:
    return lambda z, y: ((z - z[:1]).square().sum(1) + eps).sqrt().mean() * 0.01 + functional.cross_entropy(z, y)


@cause("non_finite", "the root of a distance of 0")
def _(failing: bool) -> Parts:
    return parts(mlp(), classes(), _rooted(0.0 if failing else 1e-6))


@cause("non_finite", "the logarithm of 0")
def _(failing: bool) -> Parts:
    end = nn.ReLU() if failing else nn.Softplus()
    return parts(mlp(CLASSES, end), classes(), lambda p, y: -(p[torch.arange(len(p)), y] + 0 * p.sum(1)).log().mean())


@cause("non_finite", "NaN in the fifth batch")
def _(failing: bool) -> Parts:
    batches = classes()
    if failing:
        batches[5][0][3, 2] = torch.nan
    return parts(mlp(), batches, CE)


@cause("non_finite", "a division by a spread of 0")
def _(failing: bool) -> Parts:
    batches = [(torch.cat([x, x[:, :1] * 0 + 1], 1), y) for x, y in classes()]
    eps = 0.0 if failing else 1e-6
    model = Functional(CLASSES, lambda z: z)
    model.net = nn.Sequential(Standardise(eps), mlp(into=WIDTH + 1))
    return parts(model, batches, CE)


class Standardise(nn.Module):
    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.std(0) + self.eps)


# as somebody who had not seen the checks wrote them


@cause("target_shape", "numbers of classes (N,), whole, against (N, 1)")
def _(failing: bool) -> Parts:
    batches = [(x, y if failing else y[:, None]) for x, y in classes()]
    return parts(mlp(1), batches, lambda out, y: functional.mse_loss(out, y.float()), 1e-2)


@cause("target_shape", "as many outputs as samples, (N, N), against (N,)")
def _(failing: bool) -> Parts:
    batches = [(x[:10], y[:10].float() if failing else functional.one_hot(y[:10], 10).float()) for x, y in classes(60)]
    return parts(mlp(10), batches, MSE, 1e-2)


@cause("input_scale", "pixels from 0 to 255 into sigmoid units")
def _(failing: bool) -> Parts:
    torch.manual_seed(8)
    generator = _generator()
    y = torch.randint(0, CLASSES, (32, SIZE), generator=generator)
    pixels = torch.randint(0, 220, (32, SIZE, 14, 14), generator=generator).float()
    for quarter in range(CLASSES):  # one is brighter
        row, column = 7 * (quarter // 2), 7 * (quarter % 2)
        pixels[:, :, row : row + 6, column : column + 6] += 25 * (y == quarter)[..., None, None]
    x = (pixels if failing else (pixels - 110) / 65).flatten(2)
    layers = (nn.Linear(196, 64), nn.Sigmoid(), nn.Linear(64, 32), nn.Sigmoid(), nn.Linear(32, CLASSES))
    model = nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return parts(model, list(zip(x, y, strict=True)), CE, optimizer=optimizer)


@cause("input_scale", "features of tens of thousands, by SGD")
def _(failing: bool) -> Parts:
    torch.manual_seed(0)
    batches = [((x + 1) * 15_000 if failing else x, y) for x, y in classes(12)]
    model = mlp(width=64)
    return parts(model, batches, CE, optimizer=torch.optim.SGD(model.parameters(), 0.05))


@cause("target_scale", "prices by SGD, whose loss becomes NaN")
def _(failing: bool) -> Parts:
    torch.manual_seed(0)
    batches = [(x, 250_000 + 80_000 * t if failing else t) for x, t in numbers(12)]
    model = mlp(1)
    return parts(model, batches, MSE, optimizer=torch.optim.SGD(model.parameters(), 0.01))


@cause("untrained", "an optimizer of the head alone over random features that do not do")
def _(failing: bool) -> Parts:
    torch.manual_seed(0)
    body = [layer for _ in range(6) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    model = nn.Sequential(*body, nn.Linear(WIDTH, CLASSES))
    held = model[-1].parameters() if failing else model.parameters()
    return parts(model, classes(12), CE, optimizer=torch.optim.Adam(held, 1e-2))


@cause("eval_gap", "momentum 1e-4 behind offsets of 20")
def _(failing: bool) -> Parts:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(64, momentum=1e-4 if failing else 0.1)
    model = nn.Sequential(nn.Linear(WIDTH, 64), norm, nn.ReLU(), nn.Linear(64, CLASSES))
    return parts(model, [(5 * x + 20 if failing else x, y) for x, y in classes(20)], CE)


class AlwaysDropped(nn.Module):
    """`functional.dropout` as it is called by default: in `eval()`, too."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p, self.layers = p, nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.last = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = functional.dropout(torch.relu(layer(x)), self.p)
        return self.last(x)


@cause("regularisation", "a dropout function of 0.9 behind every layer")
def _(failing: bool) -> Parts:
    torch.manual_seed(0)
    return parts(AlwaysDropped(0.9 if failing else 0.0), classes(12), CE)


def _with_scheduler(given: Parts) -> None:
    scheduler = torch.optim.lr_scheduler.ExponentialLR(given["optimizer"], given["gamma"])
    for x, y in given["batches"] * 3:
        given["optimizer"].zero_grad()
        given["loss_fn"](given["model"](x), y).backward()
        given["optimizer"].step()
        scheduler.step()


@cause("no_step", "a scheduler for epochs that is stepped after every batch", loop=_with_scheduler)
def _(failing: bool) -> Parts:
    return parts(mlp(), classes(12), CE) | {"gamma": 0.1 if failing else 0.999}


@cause("imbalance", "2 % of positives; without the fault they are weighted")
def _(failing: bool) -> Parts:
    torch.manual_seed(24)
    x = torch.randn(200, SIZE, 10, generator=_generator())
    noise = 1.2 * torch.randn(200, SIZE, generator=_generator(1))
    y = (x[..., 0] + x[..., 1] + noise > 3.85).float()[..., None]
    model = mlp(1, into=10)
    weight = None if failing else torch.tensor([45.0])
    return parts(model, list(zip(x, y, strict=True)), nn.BCEWithLogitsLoss(pos_weight=weight), 1e-3)
