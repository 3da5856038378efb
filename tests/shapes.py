"""Models, losses and loops as people write them: all healthy, none may be refused, crash or be called failing."""
# N samples, T time, D features

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from causes import BCE, CE, MSE, binary, classes, mlp, numbers, parts

TASKS: dict[str, Callable[[], dict]] = {}
LOOPS: dict[str, Callable[[dict], Iterator[None] | None]] = {}


def task(name: str) -> Callable[..., Any]:
    return lambda make: TASKS.setdefault(name, make)


# classification and regression

TASKS["classes"] = lambda: parts(mlp(), classes(), CE)
TASKS["classes, SGD with momentum"] = lambda: (
    lambda net: parts(net, classes(), CE, optimizer=torch.optim.SGD(net.parameters(), 0.05, momentum=0.9))
)(mlp())
TASKS["one output, BCEWithLogitsLoss"] = lambda: parts(mlp(1), binary(), BCE)
TASKS["one output, sigmoid and BCELoss"] = lambda: parts(mlp(1, nn.Sigmoid()), binary(), nn.BCELoss())
TASKS["one output, (N,) and (N,)"] = lambda: parts(mlp(1, nn.Flatten(0)), [(x, y[:, 0]) for x, y in binary()], BCE)
TASKS["several labels"] = lambda: parts(mlp(3), [(x, (x[:, :3] > 0).float()) for x, _ in classes()], BCE)
TASKS["softmax and squared error"] = lambda: parts(
    mlp(4, nn.Softmax(1)), [(x, functional.one_hot(y, 4).float()) for x, y in classes()], MSE
)
TASKS["class probabilities"] = lambda: parts(
    mlp(), [(x, functional.one_hot(y, 4).float() * 0.9 + 0.025) for x, y in classes()], CE
)
TASKS["label smoothing"] = lambda: parts(mlp(), classes(), nn.CrossEntropyLoss(label_smoothing=0.1))
TASKS["class weights"] = lambda: parts(mlp(), classes(), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2, 1, 1])))
TASKS["ignored labels"] = lambda: parts(mlp(), [(x, y.where(torch.rand(len(y)) > 0.2, -100)) for x, y in classes()], CE)
TASKS["hinge loss, labels of ±1"] = lambda: parts(
    mlp(1, nn.Flatten(0)),
    [(x, 2 * y[:, 0] - 1) for x, y in binary()],
    lambda z, y: functional.relu(1 - z * y).mean(),
)
TASKS["numbers"] = lambda: parts(mlp(1), numbers(), MSE)
TASKS["numbers, Huber"] = lambda: parts(mlp(1), numbers(), nn.HuberLoss())
TASKS["counts, Poisson"] = lambda: parts(
    mlp(1), [(x, torch.poisson(x[:, :1].exp())) for x, _ in numbers()], nn.PoissonNLLLoss()
)
TASKS["a mean and a variance"] = lambda: parts(
    mlp(2), numbers(), lambda out, y: functional.gaussian_nll_loss(out[:, :1], y, out[:, 1:].exp()), 3e-2
)
TASKS["a loss that is summed"] = lambda: parts(mlp(), classes(), nn.CrossEntropyLoss(reduction="sum"), 1e-3)
TASKS["a penalty on the weights"] = lambda: (
    lambda net: parts(net, classes(), lambda z, y: CE(z, y) + 1e-4 * sum(p.square().sum() for p in net.parameters()))
)(mlp())
TASKS["a last batch of one, batch norm"] = lambda: parts(
    nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4)),
    [*classes(5), (torch.randn(1, 16), torch.zeros(1, dtype=torch.long))],
    CE,
)
TASKS["sixty samples"] = lambda: parts(mlp(), classes(3, 20), CE)


@task("a DataLoader")
def _() -> dict:
    x, y = (torch.cat(column) for column in zip(*classes(), strict=True))
    data = torch.utils.data.TensorDataset(x, y)
    return parts(mlp(), torch.utils.data.DataLoader(data, 64, shuffle=True), CE)


@task("a generator of batches")
def _() -> dict:
    return parts(mlp(), (pair for pair in classes(12)), CE)


# outputs and inputs of other shapes


class Returning(nn.Module):
    def __init__(self, how: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net, self.how = mlp(), how

    def forward(self, x: Tensor) -> Any:
        return self.how(self.net(x))


TASKS["a tuple"] = lambda: parts(Returning(lambda z: (z, z.mean())), classes(), lambda out, y: CE(out[0], y))
TASKS["a dict"] = lambda: parts(Returning(lambda z: {"scores": z}), classes(), lambda out, y: CE(out["scores"], y))
TASKS["a namespace"] = lambda: parts(
    Returning(lambda z: SimpleNamespace(logits=z)), classes(), lambda out, y: CE(out.logits, y)
)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.net(torch.cat([a, b], 1))


TASKS["two inputs in a tuple"] = lambda: parts(TwoInputs(), [((x[:, :8], x[:, 8:]), y) for x, y in classes()], CE)
TASKS["two inputs in a dict"] = lambda: parts(
    TwoInputs(), [({"a": x[:, :8], "b": x[:, 8:]}, y) for x, y in classes()], CE
)
TASKS["batches of three"] = lambda: parts(TwoInputs(), [(x[:, :8], x[:, 8:], y) for x, y in classes()], CE)


class OwnLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor, labels: Tensor) -> Any:
        scores = self.net(x)
        return SimpleNamespace(loss=CE(scores, labels), logits=scores)


TASKS["a model with its own loss"] = lambda: {
    key: value
    for key, value in parts(OwnLoss(), [{"x": x, "labels": y} for x, y in classes()], None).items()
    if key != "loss_fn"
}

# images, pixels, sequences


def images() -> Tensor:
    return torch.randn(9, 32, 1, 12, 12, generator=torch.Generator().manual_seed(0))


@task("a convolution")
def _() -> dict:
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                        nn.Linear(128, 2))  # fmt: skip
    return parts(net, [(x, (x[:, 0, :6].mean((1, 2)) > 0).long()) for x in images()], CE)


@task("segmentation by classes")
def _() -> dict:
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1))
    return parts(net, [(x, (functional.avg_pool2d(x, 3, 1, 1)[:, 0] > 0).long()) for x in images()], CE)


@task("segmentation, a Dice loss")
def _() -> dict:
    def dice(out: Tensor, y: Tensor) -> Tensor:
        p = out.sigmoid()
        return 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)

    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    return parts(net, [(x, (functional.avg_pool2d(x, 3, 1, 1) > 0).float()) for x in images()], dice)


@task("an autoencoder")
def _() -> dict:
    return parts(mlp(16), [(x, x) for x, _ in classes()], MSE)


@task("an autoencoder without a target")
def _() -> dict:
    class Auto(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(16)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.net(x), x

    return parts(Auto(), [x for x, _ in classes()], lambda out, _: MSE(*out))


@task("a variational autoencoder")
def _() -> dict:
    class Variational(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = mlp(8), mlp(16, into=4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            mean, log_variance = self.encode(x).chunk(2, 1)
            return self.decode(mean + torch.randn_like(mean) * (log_variance / 2).exp()), mean, log_variance

    def loss(out: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
        divergence = -0.5 * (1 + out[2] - out[1].square() - out[2].exp()).mean()
        return MSE(out[0], x) + 0.01 * divergence

    return parts(Variational(), [(x, x) for x, _ in classes()], loss)


class Sequence(nn.Module):
    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.inner, self.head = kind(2, 24, batch_first=True), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x.view(len(x), 8, 2))[0][:, -1])


TASKS["an LSTM"] = lambda: parts(Sequence(nn.LSTM), [(x, (x[:, -4:].argmax(1))) for x, _ in classes()], CE)
TASKS["a GRU"] = lambda: parts(Sequence(nn.GRU), [(x, (x[:, -4:].argmax(1))) for x, _ in classes()], CE)


def tokens() -> list[Tensor]:
    """A walk: the next token is the one before plus 0 or 1, modulo 12."""
    steps = torch.randint(0, 2, (9, 32, 10), generator=torch.Generator().manual_seed(0))
    return list(steps.cumsum(-1) % 12)


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(12, 24), nn.Linear(24, 12)
        self.layer = nn.TransformerEncoderLayer(24, 2, 48, dropout=0.0, batch_first=True, norm_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.head(self.layer(self.embed(x), mask, is_causal=True))


@task("a language model")
def _() -> dict:
    batches = [(x[:, :-1], x[:, 1:]) for x in tokens()]
    return parts(Language(), batches, lambda out, y: functional.cross_entropy(out.flatten(0, 1), y.flatten()), 3e-3)


@task("a language model, classes second")
def _() -> dict:
    batches = [(x[:, :-1], x[:, 1:]) for x in tokens()]
    return parts(Language(), batches, lambda out, y: functional.cross_entropy(out.transpose(1, 2), y), 3e-3)


@task("a bag of tokens")
def _() -> dict:
    return parts(
        nn.Sequential(nn.EmbeddingBag(12, 16), nn.Linear(16, 2)), [(x, (x.sum(1) > 50).long()) for x in tokens()], CE
    )


# other losses


@task("triplets")
def _() -> dict:
    def loss(embedding: Tensor, y: Tensor) -> Tensor:
        d = ((embedding[:, None] - embedding[None]).square().sum(-1) + 1e-12).sqrt()
        same = y[:, None] == y[None]
        return functional.relu((d * same).amax(1) - (d + 1e6 * ~same * 0 + 1e6 * same).amin(1) + 0.5).mean()

    return parts(mlp(8), classes(), loss, 1e-3)


@task("contrastive, two views")
def _() -> dict:
    def loss(embedding: Tensor, _: Any) -> Tensor:
        one, two = functional.normalize(embedding, dim=-1).chunk(2)
        return functional.cross_entropy(one @ two.T / 0.2, torch.arange(len(one)))

    batches = [(torch.cat([x, x + 0.1 * torch.randn_like(x)]), None) for x, _ in classes()]
    return parts(mlp(8), batches, loss, 3e-3)


@task("an equation")
def _() -> dict:
    class Equation(nn.Module):
        """u′ = −u, u(0) = 1."""

        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = x.requires_grad_()
            u = self.net(x)
            (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            return du + u, self.net(torch.zeros(1, 1))

    batches = [(torch.rand(64, 1), torch.zeros(64, 1)) for _ in range(9)]
    return parts(Equation(), batches, lambda out, _: out[0].square().mean() + (out[1] - 1).square().mean())


@task("policy gradient")
def _() -> dict:
    def loss(out: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        return -(torch.distributions.Categorical(logits=out).log_prob(target[0]) * target[1]).mean()

    batches = []
    for x, y in classes():
        action = torch.randint(0, 4, (len(y),))
        batches.append((x, (action, (action == y).float() - 0.25)))
    return parts(mlp(), batches, loss)


@task("Q learning")
def _() -> dict:
    def loss(out: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        return functional.smooth_l1_loss(out.gather(1, target[0][:, None]).squeeze(1), target[1])

    batches = [(x, (torch.randint(0, 4, (len(y),)), x[:, 0] * 2)) for x, y in classes()]
    return parts(mlp(), batches, loss)


@task("distillation")
def _() -> dict:
    teacher = mlp()
    batches = [(x, (teacher(x).detach() * 4).softmax(1)) for x, _ in classes()]
    return parts(mlp(), batches, lambda z, p: functional.kl_div(z.log_softmax(1), p, reduction="batchmean"))


@task("a generator against a discriminator")
def _() -> dict:
    judge = mlp(1)
    batches = [(torch.randn(64, 16), None) for _ in range(9)]
    return parts(mlp(16), batches, lambda made, _: BCE(judge(made), torch.ones(len(made), 1)), 1e-3)


@task("a Wasserstein critic")
def _() -> dict:
    def loss(out: Tensor, real: Tensor) -> Tensor:
        return -(out * (2 * real - 1)).mean()

    return parts(mlp(1, nn.Flatten(0)), [(x, (x[:, 0] > 0).float()) for x, _ in classes()], loss, 1e-3)


@task("a graph")
def _() -> dict:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(16, 24), nn.Linear(24, 4)

        def forward(self, x: Tensor, adjacent: Tensor) -> Tensor:
            return self.two(adjacent @ self.one(x).relu())

    adjacent = (torch.eye(64) + (torch.rand(64, 64) < 0.01)) / 1.6
    return parts(Graph(), [((x, adjacent), y) for x, y in classes()], CE)


@task("LoRA")
def _() -> dict:
    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = mlp(width=256)
            self.down, self.up = nn.Linear(16, 8, bias=False), nn.Linear(8, 4, bias=False)
            self.base.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + self.up(self.down(x))

    return parts(Adapted(), classes(), CE)


@task("a frozen backbone")
def _() -> dict:
    net = mlp(width=64)
    net[0].requires_grad_(False)
    return parts(net, classes(), CE)


@task("two optimizers")
def _() -> dict:
    net = mlp()
    return parts(net, classes(), CE, optimizer=[torch.optim.Adam(net[i].parameters(), 1e-2) for i in (0, 2)])


@task("LBFGS")
def _() -> dict:
    net = mlp()
    return parts(net, classes(), CE, optimizer=torch.optim.LBFGS(net.parameters(), 0.1, max_iter=4))


@task("a compiled wrapper")
def _() -> dict:
    net = mlp()
    return parts(torch.compile(net), classes(), CE, optimizer=torch.optim.Adam(net.parameters(), 1e-2))


@task("DataParallel")
def _() -> dict:
    net = mlp()
    return parts(nn.DataParallel(net), classes(), CE, optimizer=torch.optim.Adam(net.parameters(), 1e-2))


@task("no optimizer")
def _() -> dict:
    return {"model": mlp(), "batches": classes(), "loss_fn": CE}


@dataclass
class Loop:
    """Steps of a loop, with what it needs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: list

    @classmethod
    def new(cls) -> "Loop":
        net = mlp()
        return cls(net, torch.optim.Adam(net.parameters(), 1e-2), classes(16))


def loop(name: str) -> Callable[..., Any]:
    return lambda run: LOOPS.setdefault(name, run)


@loop("plain")
def _(it: Loop) -> None:
    for x, y in it.batches:
        it.optimizer.zero_grad()
        CE(it.model(x), y).backward()
        it.optimizer.step()


@loop("cleared after the step")
def _(it: Loop) -> None:
    for x, y in it.batches:
        CE(it.model(x), y).backward()
        it.optimizer.step()
        it.optimizer.zero_grad()


@loop("cleared between forward and backward")
def _(it: Loop) -> None:
    for x, y in it.batches:
        loss = CE(it.model(x), y)
        it.model.zero_grad(set_to_none=False)
        loss.backward()
        it.optimizer.step()


@loop("accumulated over four")
def _(it: Loop) -> None:
    for number, (x, y) in enumerate(it.batches):
        (CE(it.model(x), y) / 4).backward()
        if number % 4 == 3:
            it.optimizer.step()
            it.optimizer.zero_grad()


@loop("clipped, with a schedule")
def _(it: Loop) -> None:
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(it.optimizer, 16)
    for x, y in it.batches:
        it.optimizer.zero_grad()
        CE(it.model(x), y).backward()
        nn.utils.clip_grad_norm_(it.model.parameters(), 1.0)
        it.optimizer.step()
        schedule.step()


@loop("autocast and a scaler")
def _(it: Loop) -> None:
    scaler = torch.amp.GradScaler("cpu", enabled=True)
    for x, y in it.batches:
        it.optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = CE(it.model(x), y)
        scaler.scale(loss).backward()
        scaler.step(it.optimizer)
        scaler.update()


@loop("an evaluation every four steps")
def _(it: Loop) -> None:
    for number, (x, y) in enumerate(it.batches):
        it.model.train()
        it.optimizer.zero_grad()
        CE(it.model(x), y).backward()
        it.optimizer.step()
        if number % 4 == 0:
            it.model.eval()
            with torch.no_grad():
                it.model(x)


@loop("two passes a step")
def _(it: Loop) -> None:
    for x, y in it.batches:
        it.optimizer.zero_grad()
        (CE(it.model(x), y) + CE(it.model(x + 0.1), y)).backward()
        it.optimizer.step()


@loop("two backward passes of one graph")
def _(it: Loop) -> None:
    for x, y in it.batches:
        it.optimizer.zero_grad()
        out = it.model(x)
        CE(out, y).backward(retain_graph=True)
        (0.01 * out.square().mean()).backward()
        it.optimizer.step()


@loop("a copy beside it (an average of weights)")
def _(it: Loop) -> None:
    average = copy.deepcopy(it.model)
    for x, y in it.batches:
        it.optimizer.zero_grad()
        CE(it.model(x), y).backward()
        it.optimizer.step()
        with torch.no_grad():
            for mine, its in zip(average.parameters(), it.model.parameters(), strict=True):
                mine.lerp_(its, 0.1)
