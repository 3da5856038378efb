"""`check`: verdicts on the benchmark's cases, nothing touched, and what people hand over."""

import copy
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import unvanish as uv
from cases import ALL, Case, gaussian, he, mlp, times
from subjects import made_ready

LOSS = functional.cross_entropy
SLOW = ("ResNet", "transformer", "conv", "×100", "blank ones")  # more than a second or two


def verdict(case: Case, seed: int = 0, scale: float = 1.0) -> uv.Diagnosis:
    subject = made_ready(case, seed)
    return uv.check(
        subject.model,
        subject.batches(9),
        loss_fn=lambda output, target: case.loss(output, target) * scale,
        optimizer=subject.optimizer,
    )


def kind(diagnosis: uv.Diagnosis) -> str | None:
    return diagnosis.primary.kind if diagnosis.primary else None


def marked(case: Case) -> Any:
    slow = [pytest.mark.slow] if any(word in case.name for word in SLOW) else []
    return pytest.param(case, marks=slow, id=case.name)


@pytest.mark.parametrize("case", list(map(marked, ALL)))
def test_the_benchmark_s_cases(case: Case) -> None:
    diagnosis = verdict(case)
    assert (diagnosis.healthy is False) == (case.truth is not None), str(diagnosis)
    assert kind(diagnosis) in (case.truth,), str(diagnosis)
    if case.where and diagnosis.primary:
        assert set(diagnosis.primary.layers) <= set(case.where)


FEW = [case for case in ALL if "sigmoid ×5" in case.name or "detach" in case.name or case.name == "ReLU ×4, Adam"]


@pytest.mark.parametrize("scale", [1e-6, 1e4])
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=[] if case in FEW else [pytest.mark.slow]) for case in ALL]
)
def test_no_verdict_about_the_flow_changes_with_the_scale_of_the_loss(case: Case, scale: float) -> None:
    found = kind(verdict(case, scale=scale))
    plain = isinstance(case.optimizer([nn.Parameter(torch.zeros(1))]), torch.optim.SGD)
    # With plain SGD a multiple of the loss is a multiple of the learning rate; Adam loses sight of 1e-12 of it.
    rates = (None, "lr_high", "lr_low") if plain or "1e-6" in case.name else ()
    about_the_flow = case.truth not in (None, "lr_high", "lr_low", "input_scale")
    assert found in (case.truth, *(() if about_the_flow else rates))


class Everything(nn.Module):
    """Batch norm, dropout, a buffer, a hook and a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(784, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
        self.still, self.head = nn.Linear(16, 16).requires_grad_(False), nn.Linear(16, 10)
        self.register_buffer("seen", torch.zeros(()))
        self.body.register_forward_hook(lambda *_: None)

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.head(self.still(self.body(x)))


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Any]:
    return [
        copy.deepcopy(model.state_dict()),
        copy.deepcopy(optimizer.state_dict()),
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [module.training for module in model.modules()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
        len(optimizer._optimizer_step_post_hooks),
        torch.get_rng_state(),
        random.getstate(),
        str(np.random.get_state()),  # noqa: NPY002
    ]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("rate", [0.1, 1e5], ids=["healthy", "diverging"])
def test_nothing_is_touched(rate: float) -> None:
    torch.manual_seed(0)
    model = Everything()
    model.body[1].eval()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], rate, momentum=0.9)
    x, y = torch.randn(9, 32, 784), torch.randint(0, 10, (9, 32))
    LOSS(model(x[0]), y[0]).backward()
    optimizer.step()
    loader = DataLoader(TensorDataset(x.flatten(0, 1), y.flatten()), 32, shuffle=True)

    def loss(output: Tensor, target: Tensor) -> Tensor:  # it reaches into the model, as weight penalties do
        return LOSS(output, target) + 1e-4 * sum(p.square().sum() for p in model.parameters())

    before = everything(model, optimizer)
    uv.check(model, loader, loss_fn=loss, optimizer=optimizer)
    assert same(everything(model, optimizer), before)


def test_nothing_is_touched_when_it_fails() -> None:
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    batches = [(torch.randn(3, 5), torch.zeros(3).long())]
    before = everything(model, optimizer)
    with pytest.raises(uv.UnvanishError, match="cannot be run on the first batch"):
        uv.check(model, batches, loss_fn=LOSS, optimizer=optimizer)
    assert same(everything(model, optimizer), before)


def toy(batches: int = 9, size: int = 64, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(batches, size, 16, generator=draw)
    return [(one, one[:, :4].argmax(1)) for one in x]


def healthy() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))


def deep_sigmoid() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [layer for _ in range(12) for layer in (nn.Linear(16, 16), nn.Sigmoid())]
    return nn.Sequential(*layers, nn.Linear(16, 4))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = healthy()

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        return {"logits": self.net(torch.cat([left, right], 1))}


@pytest.mark.parametrize("form", [tuple, dict])
def test_inputs_may_be_tuples_or_dicts_and_outputs_nested(form: type) -> None:
    def batches() -> Iterator[Any]:
        for x, y in toy():
            halves = x.split(8, 1)
            yield (halves if form is tuple else dict(zip(("left", "right"), halves, strict=True))), y

    model = TwoInputs()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    diagnosis = uv.check(model, batches(), loss_fn=lambda out, y: LOSS(out["logits"], y), optimizer=optimizer)
    assert diagnosis.learned
    assert not diagnosis.findings


def test_without_an_optimizer_the_flow_is_judged_all_the_same() -> None:
    assert uv.check(healthy(), toy(), loss_fn=LOSS).healthy
    assert kind(uv.check(deep_sigmoid(), toy(), loss_fn=LOSS)) == "vanishing"


def test_what_cannot_be_a_batch_is_refused_in_a_sentence() -> None:
    with pytest.raises(uv.UnvanishError, match=r"must be a pair \(input, target\); got a str"):
        uv.check(healthy(), ["text"], loss_fn=LOSS)
    with pytest.raises(uv.UnvanishError, match="there are no batches"):
        uv.check(healthy(), [], loss_fn=LOSS)
    with pytest.raises(uv.UnvanishError, match="a tensor of one number"):
        uv.check(healthy(), toy(), loss_fn=lambda output, target: output)


def test_a_model_that_cannot_be_copied_is_refused_in_a_sentence() -> None:
    model = healthy()
    model.stuck = (i for i in range(3))  # a generator cannot be copied
    with pytest.raises(uv.UnvanishError, match="cannot be copied"):
        uv.check(model, toy(), loss_fn=LOSS)


def test_unused_weights_are_told_and_fail_nobody() -> None:
    model = TwoInputs()
    model.spare = nn.Linear(3, 3)
    batches = [(x.split(8, 1), y) for x, y in toy()]
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    diagnosis = uv.check(model, batches, loss_fn=lambda out, y: LOSS(out["logits"], y), optimizer=optimizer)
    assert [finding.kind for finding in diagnosis.findings] == ["broken_graph"]
    assert diagnosis.findings[0].layers == ("spare",)
    assert diagnosis.healthy is not False


def test_nan_in_the_inputs_and_in_a_weight_are_named() -> None:
    batches = toy()
    batches[0][0][0, 0] = float("nan")
    assert "the input" in uv.check(healthy(), batches, loss_fn=LOSS).findings[0].message
    model = healthy()
    with torch.no_grad():
        model[2].weight[0, 0] = float("inf")
    assert uv.check(model, toy(), loss_fn=LOSS).primary.layers == ("2.weight",)  # pyright: ignore


def test_a_compiled_model_is_checked_as_what_it_was_made_of() -> None:
    model = healthy()
    wrapped = torch.compile(model, backend="eager")
    assert uv.check(wrapped, toy(), loss_fn=LOSS).table.layers == ("0", "2")


def test_a_verdict_is_the_same_twice() -> None:
    model = deep_sigmoid()
    first, second = (uv.check(model, toy(), loss_fn=LOSS).to_dict() for _ in range(2))
    assert first == second


def test_healthy_passes_and_failing_raises_with_a_message_worth_reading() -> None:
    uv.assert_healthy(healthy(), toy(), loss_fn=LOSS)
    with pytest.raises(AssertionError) as caught:
        uv.assert_healthy(deep_sigmoid(), toy(), loss_fn=LOSS)
    for word in ("UV001", "layers: 0 … 22 (12)", "SkipConnection", "signal left"):
        assert word in str(caught.value)
    with pytest.raises(uv.Failing, match="UV001"):
        uv.check(deep_sigmoid(), toy(), loss_fn=LOSS).raise_if_failing()


def test_text_and_html_show_the_same_findings(tmp_path: Any) -> None:
    diagnosis = uv.check(deep_sigmoid(), toy(), loss_fn=LOSS)
    text, page = str(diagnosis), tmp_path / "flow.html"
    diagnosis.to_html(page)
    html = page.read_text()
    assert all(len(line) <= 120 for line in text.splitlines())
    for word in ("UV001", "vanishing gradient", "consequence of UV001"):
        assert word in text
        assert word in html
    assert "<svg" in html
    assert "http" not in html.replace("http://www.w3.org", "")  # nothing is fetched
    assert diagnosis._repr_html_() in html


def test_of_many_layers_the_first_and_the_last_are_shown() -> None:
    torch.manual_seed(0)
    diagnosis = uv.check(
        mlp([nn.ReLU] * 60, he, width=8), [(torch.randn(16, 784), torch.zeros(16).long())] * 3, loss_fn=LOSS
    )
    assert "… 37 more" in str(diagnosis)


def test_the_loss_may_be_anything_that_gives_a_number() -> None:
    x = torch.randn(9, 64, 16)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    assert uv.check(model, zip(x, x, strict=True), loss_fn=nn.MSELoss(), optimizer=optimizer).learned


def test_a_multiple_of_the_loss_changes_no_number_of_the_flow() -> None:
    torch.manual_seed(0)
    model = mlp([nn.Sigmoid] * 4, gaussian(0.05))
    batches = [(torch.randn(32, 784), torch.randint(0, 10, (32,))) for _ in range(3)]
    one, other = (uv.check(model, batches, loss_fn=loss).table for loss in (LOSS, times(1e-6)))
    np.testing.assert_allclose(
        one.factors("backward_norm", backward=True), other.factors("backward_norm", backward=True), rtol=1e-3
    )


class WithLoss(nn.Module):
    """As the models of transformers: labels come in, and the loss comes out."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, labels: Tensor) -> Any:
        scores = self.inner(x)
        return SimpleNamespace(loss=functional.cross_entropy(scores, labels), logits=scores)


@pytest.mark.parametrize(("activation", "depth"), [(nn.Tanh, 3), (nn.Sigmoid, 12)])
def test_a_model_that_computes_its_own_loss_is_judged_as_one_with_a_loss_beside_it(activation, depth) -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(
        *(layer for _ in range(depth) for layer in (nn.Linear(16, 16), activation())), nn.Linear(16, 4)
    )
    x = torch.randn(9, 64, 16)
    y = x[..., :4].argmax(-1)
    beside = uv.check(
        inner, zip(x, y, strict=True), functional.cross_entropy, torch.optim.Adam(inner.parameters(), 0.01)
    )
    model = WithLoss(inner)
    alone = uv.check(
        model,
        [{"x": one, "labels": its} for one, its in zip(x, y, strict=True)],
        optimizer=torch.optim.Adam(model.parameters(), 0.01),
    )
    assert alone.healthy == beside.healthy == (depth == 3)
    assert [finding.kind for finding in alone.findings] == [finding.kind for finding in beside.findings]
    assert not alone.notes


def test_a_dict_without_a_target_is_told() -> None:
    class Itself(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            return SimpleNamespace(loss=(super().forward(x) - x).square().mean())

    found = uv.check(Itself(4, 4), [{"x": torch.randn(16, 4)} for _ in range(4)])
    assert any("the batches hold no target" in note for note in found.notes)


def test_no_remedy_is_advised_that_finds_nothing_to_do() -> None:
    """An all-ReLU network is not told to take ReLU."""
    torch.manual_seed(0)
    model = nn.Sequential(*(layer for _ in range(40) for layer in (nn.Linear(16, 16), nn.ReLU())), nn.Linear(16, 4))
    x = torch.randn(9, 64, 16)
    batches = [(one, one[:, :4].argmax(-1)) for one in x]
    found = uv.check(model, batches, functional.cross_entropy, torch.optim.Adam(model.parameters(), 1e-3))
    assert found.primary is not None
    assert found.primary.kind == "vanishing"
    remedies = [one for one in found.prescriptions if isinstance(one, uv.Remedy)]
    assert remedies
    for remedy in remedies:
        remedy.apply(uv.Setup.of(model, x[0]))
