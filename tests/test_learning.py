"""When a network counts as one that learned, and what is said of a trial: what was seen, and nothing else."""

import math
from itertools import chain, repeat

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import unvanish as uv
from test_check import LOSS, deep_sigmoid, healthy, toy
from unvanish.core.finding import SURE
from unvanish.diagnosis import examine as check_module
from unvanish.diagnosis.checks import input_scale
from unvanish.diagnosis.examination import Examination, Inputs, Standardised
from unvanish.diagnosis.rules import rule
from unvanish.diagnosis.trial import isolation, learning
from unvanish.diagnosis.trial.isolation import Deadline
from unvanish.diagnosis.trial.learning import Gap, compares
from unvanish.train.batches import Batch

NEW = Gap(0.0, 0.0, loss=1.0, over_batches=0.05)


@pytest.mark.parametrize(
    ("before", "after", "learned"),
    [
        (NEW, Gap(0.021, 6.1, 0.9), True),
        (NEW, Gap(0.019, 6.1, 0.9), False),  # too small a gap
        (NEW, Gap(0.021, 5.9, 0.9), False),  # it could be chance
        (NEW, Gap(0.3, 20.0, 1.001), False),  # the loss has risen
        (NEW, Gap(0.3, 20.0, math.nan), False),
        (Gap(0.19, 20.0, 1.0, 0.05), Gap(0.2, 20.0, 0.9), False),  # by chance there before
        (Gap(0.21, 20.0, 1.0, 0.05), Gap(0.21, 20.0, 1.04), True),  # converged: it does not rise beyond its spread
        (Gap(0.21, 20.0, 1.0, 0.05), Gap(0.21, 20.0, 1.06), False),
    ],
)
def test_learning_needs_the_gap_and_the_loss(before: Gap, after: Gap, learned: bool) -> None:
    assert after.learned(before) == learned


def triplets(embedding: Tensor, label: Tensor) -> Tensor:
    d = ((embedding[:, None] - embedding[None]).square().sum(-1) + 1e-12).sqrt()
    same = label[:, None] == label[None]
    return functional.relu((d * same).amax(1) - (d + 1e6 * same).amin(1) + 0.5).mean()


def test_a_network_whose_loss_explodes_is_not_healthy() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 8))
    found = uv.check(model, toy(), triplets, torch.optim.Adam(model.parameters(), 1.0))
    assert found.learned is False
    assert found.healthy is not True


def test_a_converged_network_is_healthy() -> None:
    model, batches = healthy(), toy()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(30):
        for x, y in batches:
            optimizer.zero_grad()
            LOSS(model(x), y).backward()
            optimizer.step()
    assert uv.check(model, batches, LOSS, optimizer).healthy


def quietly():
    return torch.no_grad()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("target", "loss", "expected"),
    [
        (lambda y: y[:, None] * 1e10, functional.mse_loss, True),
        (lambda y: y[:, None] * 1e-10, functional.mse_loss, True),
        (lambda y: y, lambda out, y: (out - y).square().mean(), False),  # [B, 1] against [B]: all with all
        (lambda y: y[:, None], lambda out, y: out.square().mean(), False),
        (lambda y: (y > 0)[:, None].float(), lambda out, y: nn.functional.binary_cross_entropy(out, y), True),
    ],
    ids=["huge targets", "tiny targets", "broadcast", "no target", "probabilities"],
)
def test_whether_a_loss_compares_is_no_matter_of_rounding(seed: int, target, loss, expected: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(64, 4, generator=generator), torch.randn(64, generator=generator)
    model = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    assert compares(model, Batch(x, target(y)), loss, quietly) == expected


def test_a_loss_that_takes_float32_only_is_compared_in_float32() -> None:
    weights = torch.ones(4)
    model = nn.Linear(4, 4)
    batch = Batch(torch.randn(32, 4), torch.randint(0, 4, (32,)))
    assert compares(model, batch, lambda out, y: functional.cross_entropy(out, y, weight=weights), quietly)


class ByItsInput(nn.Module):
    """A physics-informed network: gives the residual of u′ = −u, and u(0)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.requires_grad_(True)
        u = self.net(x)
        (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return du + u, u


def test_models_that_differentiate_by_their_input_are_checked_and_watched() -> None:
    torch.manual_seed(0)
    model = ByItsInput()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def loss(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        return (output[1] - target).square().mean() + 0.1 * output[0].square().mean()

    xs = torch.rand(9, 64, 1) * 2
    batches = [(x, torch.exp(-x)) for x in xs]
    found = uv.check(model, batches, loss, optimizer)
    assert found.learned
    assert found.table.layers == ("net.0", "net.2")
    with uv.watch(model, optimizer, every=1) as flow:
        for x, y in batches:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
    assert len(flow.table.steps) == 9
    assert flow.diagnose().healthy is not False


def test_the_clock_decides_nothing_until_it_gives_up_and_then_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict() -> dict:
        torch.manual_seed(0)
        model = deep_sigmoid()
        return uv.check(model, toy(), LOSS, torch.optim.SGD(model.parameters(), 1e-4)).to_dict()

    usual = verdict()
    now = iter(range(10**9))
    monkeypatch.setattr(isolation.time, "monotonic", lambda: next(now) * 0.01)  # a slow machine
    assert verdict() == usual
    monkeypatch.setattr(isolation, "ABORT_S", 0.0)
    monkeypatch.setattr(Deadline.__init__, "__defaults__", (0.0,))
    late = verdict()
    assert any("longer than 0 s" in note for note in late["not_examined"])
    assert late["learned"] is None


@pytest.mark.parametrize(
    ("standardised", "said", "not_said"),
    [
        (Standardised(learned=True), "the same network learns", "gone"),
        (Standardised(begins=True), "begins to learn", "the same network learns"),
        (Standardised(relieved=True), "was not seen to learn", "the same network learns"),
    ],
)
def test_no_sentence_claims_what_was_not_seen(standardised: Standardised, said: str, not_said: str) -> None:
    seen = Examination(learned=False, inputs=Inputs(100.0, 50.0, 112.0), standardised=standardised)
    found = rule("input_scale").examine(seen)
    assert found is not None
    assert found.certainty >= SURE
    assert said in found.message
    assert not_said not in found.message


def test_nothing_is_relieved_that_was_not_wrong() -> None:
    """Raw inputs that nobody can learn from: the signals are well before and after."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    batches = [(100 * torch.randn(64, 16), torch.randint(0, 4, (64,))) for _ in range(9)]
    assert input_scale.unusual(Inputs(0.0, 100.0, 100.0))
    seen = []
    relieved = check_module._is_relieved

    def noted(*arguments) -> bool:
        seen.append(relieved(*arguments))
        return seen[-1]

    check_module._is_relieved = noted
    try:
        found = uv.check(model, batches, LOSS, torch.optim.Adam(model.parameters(), 1e-3))
    finally:
        check_module._is_relieved = relieved
    assert seen == [False]
    assert "input_scale" not in [one.kind for one in found.findings if one.sure]


def test_two_looks_in_a_row_must_find_that_it_has_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    well, ill = Gap(0.5, 50.0, 0.5), Gap(0.0, 0.0, 2.0)
    shown = chain([Gap(0.0, 0.0, 1.0), well], repeat(ill))
    monkeypatch.setattr(learning, "gap", lambda *_: next(shown))
    model = healthy()
    found = uv.check(model, toy(), LOSS, torch.optim.SGD(model.parameters(), 1e-9), steps=20)
    assert found.learned is not True


def test_a_uniform_loss_of_signal_is_found_whole() -> None:
    """Orthogonal tanh of gain 0.8: each layer loses little, a hundred leave 2e-10."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(16, 32), nn.Tanh()]
    for _ in range(99):
        layers += [nn.Linear(32, 32), nn.Tanh()]
    model = nn.Sequential(*layers, nn.Linear(32, 4))
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight, 0.8)
            nn.init.zeros_(module.bias)
    found = uv.check(model, toy(), LOSS, torch.optim.SGD(model.parameters(), 0.1)).primary
    assert found is not None
    assert found.kind == "vanishing"
    assert found.evidence["signal_left"] < 1e-8
    assert 0.75 < found.evidence["factor_per_layer"] < 0.85
    assert len(found.layers) > 90


def test_samples_that_come_twice_in_a_batch_are_no_collapse() -> None:
    model = healthy()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with uv.watch(model, optimizer, every=1) as flow:
        for x, y in toy():
            optimizer.zero_grad()
            LOSS(model(torch.cat([x, x])), torch.cat([y, y])).backward()
            optimizer.step()
    assert flow.diagnose().healthy is not False
    assert (flow.table.row("spread") > 0).all()


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_narrow_relu_networks_are_not_called_dead(factor: float) -> None:
    """ReLU × 40 of width 16: PyTorch's init vanishes; He's with zero biases trains."""
    torch.manual_seed(1)
    layers: list[nn.Module] = [nn.Linear(16, 16), nn.ReLU()]
    for _ in range(39):
        layers += [nn.Linear(16, 16), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(16, 4))
    if factor > 1:
        for module in model:
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
    found = uv.check(model, toy(), LOSS, torch.optim.Adam(model.parameters(), 1e-3))
    kinds = [one.kind for one in found.findings if one.sure]
    assert "dead" not in kinds
    if factor == 1:
        assert kinds[0] == "vanishing"
