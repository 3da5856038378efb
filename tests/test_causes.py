"""The kinds of fault that people bring: each found in programs that have it, and in none of the same without it.

The programs are those of `make accuracy`. What is prescribed is executed as it stands.
"""

import math

import pytest
import torch

import unvanish as uv
from causes import CAUSES, CE, MSE, Cause, as_it_should_be, classes, mlp, numbers, parts
from unvanish.core.finding import Fix
from unvanish.diagnosis.checks import ALL
from unvanish.train.batches import Batch

FIXES = [(check, one) for check in ALL for one in check.prescriptions if isinstance(one, Fix)]


def diagnosed(cause: Cause, failing: bool) -> tuple[uv.Diagnosis, dict]:
    torch.manual_seed(0)
    given = cause.make(failing)
    if cause.loop is None:
        return uv.check(given), given
    with uv.watch(given["model"], given["optimizer"]) as flow:
        (cause.loop if failing else as_it_should_be)(given)
    return flow.diagnose(), given


def run(code: str, given: dict) -> dict:
    """As somebody pastes it."""
    there = {"torch": torch, "uv": uv} | {
        name: given[name] for name in ("model", "loss_fn", "optimizer", "batches") if name in given
    }
    try:
        exec(code, there)
    finally:
        torch.autograd.set_detect_anomaly(False)
    return there


@pytest.mark.parametrize("cause", CAUSES, ids=str)
@pytest.mark.filterwarnings("ignore")  # of torch's about the faults themselves
def test_the_cause_is_named_and_what_is_prescribed_runs(cause: Cause) -> None:
    found, given = diagnosed(cause, failing=True)
    assert found.primary is not None
    assert found.primary.kind == cause.kind
    assert found.changes
    for _, code in found.changes:
        run(code, given)
        assert all(len(line) <= 78 for line in code.splitlines())
    assert all(len(line) <= 80 for line in str(found).splitlines())
    assert str(found).startswith(f"{found.title} is failing: {found.primary.title}")


@pytest.mark.parametrize("cause", CAUSES, ids=str)
def test_without_the_fault_nothing_is_found(cause: Cause) -> None:
    found, _ = diagnosed(cause, failing=False)
    assert found.primary is None
    assert cause.loop is not None or found.healthy


@pytest.mark.parametrize(("check", "fix"), FIXES, ids=lambda one: getattr(one, "code", "")[:12])
def test_every_fix_runs(check, fix: Fix) -> None:
    given = parts(mlp(), classes(), CE)
    for x, y in given["batches"][:2]:
        given["loss_fn"](given["model"](x), y).backward()
    run(fix.code, given)


HEALED = ["softmax before CrossEntropyLoss", "sigmoid before BCEWithLogitsLoss", "NLLLoss on logits",
          "NLLLoss on probabilities", "tanh before targets of ±3", "(N, 1) against (N,), MSELoss",
          "prices of 250,000", "layers in a list", "layers in a tensor", "everything frozen", "softmax over dim 0",
          "LSTM without batch_first", "momentum 1e-4, inside", "−1 and 1 under a sigmoid", "dropout 0.9",
          "weight decay 1, SGD", "Adam's eps in float16", "a rate of 0"]  # fmt: skip


@pytest.mark.parametrize("name", HEALED)
@pytest.mark.filterwarnings("ignore")
def test_the_first_change_heals(name: str) -> None:
    cause = next(one for one in CAUSES if one.name == name)
    found, given = diagnosed(cause, failing=True)
    there = run(found.changes[0][1], given)
    torch.manual_seed(0)
    after = uv.check(there["model"], given["batches"], there["loss_fn"], there["optimizer"])
    assert after.primary is None or after.primary.kind != cause.kind


@pytest.mark.parametrize("what", ["inputs", "nothing"])
def test_the_scale_of_the_inputs_is_given_as_code(what: str) -> None:
    torch.manual_seed(0)
    batches = [(x * 300 + 1000, y) for x, y in classes()]
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    if what == "nothing":
        batches = classes()
    found = uv.check(model, batches, CE, optimizer)
    if what == "nothing":
        assert found.healthy
        return
    assert found.primary is not None
    assert found.primary.kind == "input_scale"
    there = run(found.changes[0][1], {"model": model, "loss_fn": CE, "optimizer": optimizer})
    assert uv.check(there["model"], batches, CE, there["optimizer"]).learned


def test_an_equation_over_a_wide_domain_is_told_though_its_loss_falls() -> None:
    class Equation(torch.nn.Module):
        """u″ = 0, u(0) = 0, u(length) = 1."""

        def __init__(self, length: float) -> None:
            super().__init__()
            self.ends = torch.tensor([[0.0], [length]])
            self.net = torch.nn.Sequential(torch.nn.Linear(1, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = x.requires_grad_()
            (du,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
            (ddu,) = torch.autograd.grad(du.sum(), x, create_graph=True)
            return ddu, self.net(self.ends)

    def loss(out: tuple[torch.Tensor, torch.Tensor], _: object) -> torch.Tensor:
        return out[0].square().mean() + (out[1] - torch.tensor([[0.0], [1.0]])).square().mean()

    for length, kind in ((50.0, "input_scale"), (1.0, None)):
        torch.manual_seed(0)
        batches = [(torch.rand(64, 1) * length, torch.zeros(64, 1)) for _ in range(9)]
        found = uv.check(parts(Equation(length), batches, loss)).primary
        assert (found.kind if found else None) == kind


# what looks like a fault and is none


def test_log_softmax_before_cross_entropy_is_no_finding() -> None:
    assert uv.check(parts(mlp(4, torch.nn.LogSoftmax(1)), classes(), CE)).healthy


def test_losses_over_pairs_are_no_broadcast() -> None:
    def ranking(score: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (score[:, None] - score[None] - (target[:, None] - target[None])).square().mean()

    batches = [(x, y[:, 0]) for x, y in numbers()]
    assert uv.check(parts(mlp(1, torch.nn.Flatten(0)), batches, ranking)).healthy


def test_normalisation_over_the_batch_is_no_leak() -> None:
    from causes import Standardise

    for norm in (torch.nn.BatchNorm1d(16, track_running_stats=False), Standardise(1e-6), torch.nn.BatchNorm1d(16)):
        assert uv.check(parts(torch.nn.Sequential(norm, mlp()), classes(), CE)).healthy


def test_normalisation_over_the_batch_is_no_leak_in_a_model_that_differentiates_by_its_input() -> None:
    from unvanish.diagnosis.evidence.leak import leak_of
    from unvanish.train.batches import Batch

    class Force(torch.nn.Module):
        def __init__(self, mixes: bool) -> None:
            super().__init__()
            self.mixes, self.net = mixes, torch.nn.Linear(16, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.requires_grad_()
            z = self.net((x - x.mean(0)) / x.std(0)).tanh()
            potential = torch.softmax(z, 0) if self.mixes else z
            (force,) = torch.autograd.grad(potential.square().sum(), x, create_graph=True)
            return force

    torch.manual_seed(0)
    batch = Batch(torch.randn(32, 16), None)
    assert leak_of(Force(mixes=False), batch) == (None, "")
    found, _ = leak_of(Force(mixes=True), batch)
    assert found is not None


def test_a_frozen_prefix_is_no_finding_and_a_frozen_head_of_no_optimizer_is() -> None:
    model = mlp()
    found = uv.check(parts(model, classes(), CE, optimizer=torch.optim.Adam(model[2].parameters(), 1e-2)))
    assert found.primary is None
    assert any(finding.kind == "untrained" and not finding.sure for finding in found.findings)


def test_gradients_that_are_accumulated_on_purpose_are_no_finding() -> None:
    given = parts(mlp(), classes(), CE)
    with uv.watch(given["model"], given["optimizer"]) as flow:
        for _ in range(4):
            for x, y in given["batches"][:3]:
                given["loss_fn"](given["model"](x), y).backward()
            given["optimizer"].step()
            given["optimizer"].zero_grad()
    assert flow.diagnose().primary is None


def test_a_discriminator_whose_gradients_the_generator_fills_is_no_finding() -> None:
    real, fake = mlp(1), mlp(16)
    ours, theirs = (torch.optim.Adam(net.parameters(), 1e-3) for net in (real, fake))
    one, zero = torch.ones(64, 1), torch.zeros(64, 1)
    loss = torch.nn.BCEWithLogitsLoss()
    with uv.watch(real, ours) as flow, uv.watch(fake, theirs) as other:
        for x, _ in classes():
            real.zero_grad()
            loss(real(x), one).backward()
            loss(real(fake(torch.randn(64, 16)).detach()), zero).backward()
            ours.step()
            fake.zero_grad()
            loss(real(fake(torch.randn(64, 16))), one).backward()
            theirs.step()
    assert flow.diagnose().primary is None
    assert other.diagnose().primary is None


def test_layers_that_another_optimizer_trains_are_no_finding_of_a_watch() -> None:
    model = mlp()
    first, second = (torch.optim.Adam(model[i].parameters(), 1e-2) for i in (0, 2))
    for trained, kind in ((True, None), (False, "untrained")):
        with uv.watch(model, first, every=1) as flow:
            for x, y in classes():
                model.zero_grad()
                CE(model(x), y).backward()
                first.step()
                if trained:
                    second.step()
        found = flow.diagnose().primary
        assert (found.kind if found else None) == kind


def test_a_generator_with_constant_targets_is_no_finding() -> None:
    judge, fake = mlp(1), mlp(16)
    batches = [(torch.randn(64, 16), torch.ones(64, 1)) for _ in range(9)]
    loss = torch.nn.BCEWithLogitsLoss()
    found = uv.check(parts(fake, batches, lambda made, target: loss(judge(made), target), 1e-3))
    assert found.primary is None


def test_few_samples_get_an_answer() -> None:
    x = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    y = torch.tensor([[0.0], [1], [1], [0]])
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    found = uv.check(parts(model, [(x, y)], MSE, 0.05))
    assert found.healthy
    assert any("all trained on and asked" in note for note in found.notes)


@pytest.mark.parametrize("part", ["called", "backward", "step"])
def test_a_watch_that_measured_nothing_says_which_part_was_missing(part: str) -> None:
    given = parts(mlp(), classes(), CE)
    model = given["model"]
    with uv.watch(model, given["optimizer"]) as flow:
        x, y = given["batches"][0]
        if part == "called":
            CE(model.forward(x), y).backward()
        else:
            value = CE(model(x), y)
            if part == "step":
                value.backward()
    missing = {"called": "never called through", "backward": "no backward pass", "step": "no optimizer step"}
    found = flow.diagnose()
    assert found.healthy is None
    assert missing[part] in " ".join(str(found).split())


def test_steps_that_change_weights_at_a_tiny_rate_are_steps() -> None:
    given = parts(mlp(), classes(), CE, optimizer=None)
    optimizer = torch.optim.SGD(given["model"].parameters(), 1e-13)
    with uv.watch(given["model"], optimizer) as flow:
        for x, y in given["batches"]:
            optimizer.zero_grad()
            (1e13 * CE(given["model"](x), y)).backward()
            optimizer.step()
    assert not any(finding.kind == "no_step" for finding in flow.diagnose().findings)


def test_the_best_constant_is_that_of_the_loss_as_it_is() -> None:
    """Of a weighted binary cross-entropy with a share p of positives it is at σ(c) = w p/(w p + 1 − p)."""
    from unvanish.diagnosis.evidence.predictions import predictions_of

    p, w = 0.05, 19.0
    y = (torch.arange(200) % 20 == 0).float()[:, None]
    batches, net = [Batch(torch.randn(200, 3), y)], torch.nn.Linear(3, 1)
    for weight, expected in ((None, -p * math.log(p) - (1 - p) * math.log(1 - p)), (w, w * p * 2 * math.log(2))):
        loss = torch.nn.BCEWithLogitsLoss(pos_weight=None if weight is None else torch.tensor([weight]))
        found = predictions_of(net, batches, torch.no_grad, 1.0, loss)
        assert found is not None
        assert found.constant == pytest.approx(expected, rel=1e-3)
        assert found.weighted == (weight is not None)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_loss_that_weighs_its_classes_is_not_content_with_the_majority(weighted: bool) -> None:
    from unvanish.diagnosis.checks.imbalance import Imbalance
    from unvanish.diagnosis.evidence.predictions import Predictions

    said = Predictions(share=1.0, majority=0.98, loss=1.3, constant=1.1, weighted=weighted)
    found = Imbalance().examine(uv.Examination(learned=False, learnable=True, predictions=said))
    assert found is not None
    assert found.sure != weighted
