"""The ward: small networks on FashionMNIST whose illness is known, and healthy ones that look ill.

Every label is confirmed by training, before it is used (`confirm.py`): 400 steps of batch 128 on 12,000 images.
"""
# B batch, T time, D features

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Loss = Callable[[Tensor, Tensor], Tensor]

WIDTH = 128
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A network with its truth.

    truth   the kind of its illness, `None` where it is healthy
    where   the names of layers of which a right diagnosis names at least one and outside of which it names
            none; empty where every layer takes part
    pixels  what becomes of the normalised images
    before  trains the model beforehand
    """

    name: str
    truth: str | None
    build: Callable[[], nn.Module]
    optimizer: Optimizer
    where: tuple[str, ...] = ()
    loss: Loss = functional.cross_entropy
    pixels: Callable[[Tensor], Tensor] = lambda x: x
    before: Callable[[nn.Module, Tensor, Tensor], None] | None = None


def sgd(rate: float, **options: float) -> Optimizer:
    return lambda parameters: torch.optim.SGD(parameters, rate, **options)  # pyright: ignore[reportArgumentType]


def adam(rate: float) -> Optimizer:
    return lambda parameters: torch.optim.Adam(parameters, rate)


# First weights


def default(_weight: Tensor) -> None:
    """PyTorch's own."""


def gaussian(std: float) -> Callable[[Tensor], Tensor]:
    return lambda weight: nn.init.normal_(weight, 0, std)


def variance(of_weights: float) -> Callable[[Tensor], Tensor]:
    """From N(0, σ_w² / fan_in)."""
    return lambda weight: nn.init.normal_(weight, 0, (of_weights / weight[0].numel()) ** 0.5)


he = variance(2.0)


def constant(value: float) -> Callable[[Tensor], Tensor]:
    return lambda weight: nn.init.constant_(weight, value)


@torch.no_grad()
def drawn(model: nn.Module, init: Callable[[Tensor], object], bias: float | None = 0.0) -> nn.Module:
    """The model with its weight matrices from `init`; biases of all but the last layer set, unless `None`."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    for layer in layers:
        if init is not default:
            init(layer.weight)
        if bias is not None and layer.bias is not None and init is not default:
            nn.init.constant_(layer.bias, bias if layer is not layers[-1] else 0.0)
    return model


# Networks


def mlp(
    activations: Sequence[Callable[[], nn.Module]],
    init: Callable[[Tensor], object] = default,
    *,
    bias: float | None = 0.0,
    width: int = WIDTH,
    norm: bool = False,
) -> nn.Module:
    """784 → one hidden layer for each activation → 10; hidden layer i is module `i.0`."""
    fans = [784, *(width for _ in activations)]
    blocks = [
        nn.Sequential(nn.Linear(fan, width), *([nn.BatchNorm1d(width)] if norm else []), activation())
        for fan, activation in zip(fans, activations, strict=False)
    ]
    return drawn(nn.Sequential(*blocks, nn.Linear(width, CLASSES)), init, bias)


class Detached(nn.Module):
    """Cuts the graph: `h.detach()` where somebody only wanted to look at h."""

    def forward(self, h: Tensor) -> Tensor:
        return h.detach()


def with_cut(model: nn.Sequential, after: int) -> nn.Module:
    return nn.Sequential(*list(model)[:after], Detached(), *list(model)[after:])


def frozen(model: nn.Sequential, layers: int) -> nn.Module:
    for block in list(model)[:layers]:
        block.requires_grad_(False)
    return model


class AsImage(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, 1, 28, 28)


class ResidualConv(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(x + self.norm2(self.conv2(h)))


def resnet(blocks: int = 9, width: int = 16) -> nn.Module:
    stem = [AsImage(), nn.Conv2d(1, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    body = [ResidualConv(width) for _ in range(blocks)]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


def plain_conv(
    depth: int, activation: Callable[[], nn.Module], init: Callable[[Tensor], object], *, bias: float = 0.0
) -> nn.Module:
    fans = [1] + [16] * (depth - 1)
    body = [
        nn.Sequential(nn.Conv2d(fan, 16, 3, padding=1, stride=2 if index < 2 else 1), activation())
        for index, fan in enumerate(fans)
    ]
    model = nn.Sequential(AsImage(), *body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, CLASSES))
    return drawn(model, init, bias)


class PreNorm(nn.Module):
    def __init__(self, width: int, activation: Callable[[Tensor], Tensor] = functional.relu) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.activation = activation

    def forward(self, h: Tensor) -> Tensor:
        return h + self.down(self.activation(self.up(self.norm(h))))


def pre_norm(depth: int = 30, *, zero: bool = False) -> nn.Module:
    blocks = [PreNorm(WIDTH) for _ in range(depth)]
    if zero:
        for block in blocks:
            nn.init.zeros_(block.down.weight)
            nn.init.zeros_(block.down.bias)
    return nn.Sequential(nn.Linear(784, WIDTH), *blocks, nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES))


class Gated(nn.Module):
    """ReZero (Bachlechner et al. 2020): h + α f(h), α = 0 at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.gate = nn.Linear(width, width), nn.Parameter(torch.zeros(()))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.gate * torch.relu(self.up(h))


def rezero(depth: int = 20) -> nn.Module:
    return nn.Sequential(nn.Linear(784, WIDTH), *(Gated(WIDTH) for _ in range(depth)), nn.Linear(WIDTH, CLASSES))


class Transformer(nn.Module):
    """An image as 28 rows, a token each; the mean over tokens is classified."""

    def __init__(self, depth: int = 4, width: int = 64, *, norm_first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=norm_first)
        self.embed, self.place = nn.Linear(28, width), nn.Parameter(torch.randn(28, width) * 0.02)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h_BTD = self.embed(x.view(-1, 28, 28)) + self.place
        return self.head(self.encoder(h_BTD).mean(1))


class AttentionOnly(nn.Module):
    """Attention without skips or MLPs: its rank collapses with depth (Dong et al. 2021)."""

    def __init__(self, depth: int = 12, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Linear(28, width)
        self.layers = nn.ModuleList(nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(depth))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h_BTD = self.embed(x.view(-1, 28, 28))
        for layer in self.layers:
            h_BTD, _ = layer(h_BTD, h_BTD, h_BTD, need_weights=False)
        return self.head(h_BTD.mean(1))


class Recurrent(nn.Module):
    """An image as a sequence of `steps` pieces, and so many blank ones; the last state is classified."""

    def __init__(self, cells: nn.RNNBase, steps: int, scale: float = 1.0, blank: int = 0) -> None:
        super().__init__()
        self.steps, self.blank, self.rnn, self.head = steps, blank, cells, nn.Linear(64, CLASSES)
        with torch.no_grad():
            cells.get_parameter("weight_hh_l0").mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        x_BTD = functional.pad(x.view(len(x), self.steps, -1), (0, 0, 0, self.blank))
        h_BTD, _ = self.rnn(x_BTD)
        return self.head(h_BTD[:, -1])


class BatchMean(nn.Module):
    """Averages over the wrong dimension, so that every sample gets the mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(28, WIDTH)
        self.body = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h_BTD = torch.relu(self.embed(x.view(-1, 28, 28)))
        h_BD = h_BTD.mean((0, 1)).expand(len(x), -1)
        return self.head(self.body(h_BD))


class LogOfSquares(nn.Module):
    """log(h²): −∞ wherever a ReLU's output is 0."""

    def forward(self, h: Tensor) -> Tensor:
        return (h * h).log()


class Tapped(nn.Module):
    """Trains with one hidden layer that `forward` has forgotten and one that it uses twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.twice, self.head = nn.Linear(784, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.inward(x))
        h = torch.relu(self.twice(h))
        return self.head(torch.relu(self.twice(h)))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, steps: int, loss: Loss) -> None:
    for step in range(steps):
        picked = torch.arange(step * 128, (step + 1) * 128) % len(x)
        optimizer.zero_grad()
        loss(model(x[picked]), y[picked]).backward()
        optimizer.step()


def _converge(model: nn.Module, x: Tensor, y: Tensor) -> None:
    train(model, torch.optim.Adam(model.parameters(), 1e-3), x[:256], y[:256], 400, functional.cross_entropy)


def _hidden(*numbers: int) -> tuple[str, ...]:
    return tuple(f"{number}.0" for number in numbers)


def times(scale: float) -> Loss:
    return lambda output, target: functional.cross_entropy(output, target) * scale


def _sum_loss(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output, target, reduction="sum")


R, S, T = nn.ReLU, nn.Sigmoid, nn.Tanh

# The cases that the ward was founded with
FOUNDING = (
    Case("sigmoid ×5, N(0, .05²), SGD .01", "vanishing", lambda: mlp([S] * 5, gaussian(0.05)), sgd(0.01)),
    Case("tanh ×50, σ_w² = .5, SGD .1", "vanishing", lambda: mlp([T] * 50, variance(0.5)), sgd(0.1)),
    Case("ReLU ×30, default init, SGD .1", "vanishing", lambda: mlp([R] * 30), sgd(0.1)),
    Case(
        "ReLU ×4, sigmoid ×6, ReLU, He, SGD .05",
        "vanishing",
        lambda: mlp([R] * 4 + [S] * 6 + [R], he),
        sgd(0.05),
        where=_hidden(4, 5, 6, 7, 8, 9),
    ),
    Case("sigmoid ×7, N(0, .05²), Adam .001", "vanishing", lambda: mlp([S] * 7, gaussian(0.05)), adam(1e-3)),
    Case("ReLU ×30, twice He, SGD .01", "exploding", lambda: mlp([R] * 30, variance(8.0)), sgd(0.01)),
    Case("tanh ×30, σ_w² = 9, SGD .1", "exploding", lambda: mlp([T] * 30, variance(9.0)), sgd(0.1)),
    Case(
        "batch norm ReLU ×100, width 64, SGD .1",
        "exploding",
        lambda: mlp([R] * 100, he, width=64, norm=True),
        sgd(0.1),
    ),
    Case("He ReLU ×4, SGD 10", "lr_high", lambda: mlp([R] * 4, he), sgd(10.0)),
    Case("He ReLU ×4, SGD 1e-7", "lr_low", lambda: mlp([R] * 4, he), sgd(1e-7)),
    Case("He ReLU ×6, bias −5, SGD .1", "dead", lambda: mlp([R] * 6, he, bias=-5.0), sgd(0.1)),
    Case("He ReLU ×34, width 8, Adam", "dead", lambda: mlp([R] * 34, he, width=8), adam(1e-3)),
    Case("sigmoid ×6, N(0, 2²), SGD .1", "saturated", lambda: mlp([S] * 6, gaussian(2.0)), sgd(0.1)),
    Case("ReLU ×4, all zeros, Adam", "symmetric", lambda: mlp([R] * 4, constant(0.0)), adam(1e-3)),
    Case("ReLU ×4, constant .05, SGD .1", "symmetric", lambda: mlp([R] * 4, constant(0.05)), sgd(0.1)),
    Case(
        "detach() after layer 3 of 6, SGD .1",
        "broken_graph",
        lambda: with_cut(mlp([R] * 6, he), 3),  # pyright: ignore[reportArgumentType]
        sgd(0.1),
        where=_hidden(0, 1, 2),
    ),
    Case("ReLU ×4, Adam", None, lambda: mlp([R] * 4), adam(1e-3)),
    Case("He ReLU ×30, Adam 3e-4", None, lambda: mlp([R] * 30, he), adam(3e-4)),
    Case("batch norm ReLU ×20, SGD .1", None, lambda: mlp([R] * 20, he, norm=True), sgd(0.1)),
    Case("ResNet of 9 blocks", None, resnet, sgd(0.1)),
    Case("pre-norm residual MLP ×30, Adam", None, pre_norm, adam(1e-3)),
    Case("post-norm transformer ×4", None, Transformer, adam(1e-3)),
    Case("trap: loss × 1e-6", None, lambda: mlp([R] * 4, he), adam(1e-3), loss=times(1e-6)),
    Case("trap: biases −1 but alive", None, lambda: mlp([R] * 4, he, bias=-1.0), adam(1e-3)),
    Case("trap: first three layers frozen", None, lambda: frozen(mlp([R] * 6, he), 3), adam(1e-3)),  # pyright: ignore[reportArgumentType]
    Case("trap: converged on 256 samples", None, lambda: mlp([R] * 4, he), adam(1e-3), before=_converge),
)

# As many again, of other kinds
OWN = (
    Case("conv sigmoid ×8, SGD .1", "vanishing", lambda: plain_conv(8, S, default), sgd(0.1)),
    Case("conv ReLU ×20, half of He, SGD .05", "vanishing", lambda: plain_conv(20, R, variance(0.5)), sgd(0.05)),
    Case("softsign ×40, σ_w² = .5, SGD .05", "vanishing", lambda: mlp([nn.Softsign] * 40, variance(0.5)), sgd(0.05)),
    Case(
        "RNN over 28 rows and 60 blank ones, SGD .1",
        "vanishing",
        lambda: Recurrent(nn.RNN(28, 64, batch_first=True), 28, blank=60),
        sgd(0.1),
        where=("rnn.weight_hh_l0",),
    ),
    Case("conv ReLU ×20, 1.7 × He, SGD .01", "exploding", lambda: plain_conv(20, R, variance(6.0)), sgd(0.01)),
    Case("residual sums of He ReLU ×60, SGD .1", "exploding", lambda: residual_sums(60), sgd(0.1)),
    Case("GELU ×25, σ_w² = 7, SGD .01", "exploding", lambda: mlp([nn.GELU] * 25, variance(7.0)), sgd(0.01)),
    Case("ResNet, SGD 1000", "lr_high", resnet, sgd(1000.0)),
    Case("transformer, Adam 3", "lr_high", Transformer, adam(3.0)),
    Case("pre-norm MLP, Adam 1e-9", "lr_low", pre_norm, adam(1e-9)),
    Case("conv ReLU ×6, bias −8, Adam", "dead", lambda: plain_conv(6, R, he, bias=-8.0), adam(1e-3)),
    Case("tanh ×5, N(0, 3²), SGD .01", "saturated", lambda: mlp([T] * 5, gaussian(3.0)), sgd(0.01)),
    Case("tanh ×4, constant .01, Adam", "symmetric", lambda: mlp([T] * 4, constant(0.01)), adam(1e-3)),
    Case("output detached", "broken_graph", lambda: nn.Sequential(mlp([R] * 4, he), Detached()), sgd(0.1)),
    Case("log(h²) after layer 2", "non_finite", lambda: log_of_squares(), sgd(0.1)),
    Case(
        "pixels × 10,000, SGD .1",
        "input_scale",
        lambda: mlp([R] * 4),
        sgd(0.1),
        pixels=lambda x: x * 1e4,
    ),
    Case("pixels + 1000, Adam", "input_scale", lambda: mlp([R] * 4, he), adam(1e-3), pixels=lambda x: x + 1000),
    Case(
        "mean over the batch instead of the tokens",
        "collapse",
        BatchMean,
        adam(1e-3),
        where=("body.0", "body.2", "head"),
    ),
    Case(
        "ReLU RNN over 98 steps, 4 × its weights, SGD .1",
        "exploding",
        lambda: Recurrent(nn.RNN(8, 64, batch_first=True, nonlinearity="relu"), 98, 4.0),
        sgd(0.1),
        where=("rnn.weight_hh_l0",),
    ),
    Case("LSTM over 28 rows, Adam", None, lambda: Recurrent(nn.LSTM(28, 64, batch_first=True), 28), adam(1e-3)),
    Case("RNN over 28 rows, Adam", None, lambda: Recurrent(nn.RNN(28, 64, batch_first=True), 28), adam(1e-3)),
    Case("He conv ×6, momentum", None, lambda: plain_conv(6, R, he), sgd(0.02, momentum=0.9)),
    Case("ReZero ×20, Adam", None, rezero, adam(1e-3)),
    Case("trap: zero-initialised branches", None, lambda: pre_norm(zero=True), adam(1e-3)),
    Case("trap: summed loss", None, lambda: mlp([R] * 4), adam(1e-3), loss=_sum_loss),
    Case("trap: pixels in [0, 1]", None, lambda: mlp([R] * 4), adam(1e-3), pixels=lambda x: x * 0.353 + 0.286),
    Case("trap: a layer used twice", None, Tapped, adam(1e-3)),
    Case("ELU ×12, LeCun, Adam", None, lambda: mlp([nn.ELU] * 12, variance(1.0)), adam(1e-3)),
)


class _ResidualSum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, WIDTH)

    def forward(self, h: Tensor) -> Tensor:
        return h + torch.relu(self.up(h))


def residual_sums(depth: int) -> nn.Module:
    body = (_ResidualSum() for _ in range(depth))
    return drawn(nn.Sequential(nn.Linear(784, WIDTH), *body, nn.Linear(WIDTH, CLASSES)), he)


def log_of_squares() -> nn.Module:
    model = mlp([R] * 4, he)
    return nn.Sequential(*list(model)[:2], LogOfSquares(), *list(model)[2:])  # pyright: ignore[reportArgumentType]


ALL = FOUNDING + OWN
