"""Repairs: that what is proven heals, that what is healthy is left, and that nothing given is touched."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

import unvanish as uv
from unvanish.diagnosis.fixes import DRAWS
from unvanish.diagnosis.repair.candidates import BESIDE, by_hand, pairs, singles
from unvanish.diagnosis.repair.change import Change
from unvanish.diagnosis.repair.data import parts_of, read
from unvanish.diagnosis.repair.proof import Proof
from unvanish.diagnosis.repair.score import chance, metric_of, scores
from unvanish.diagnosis.repair.selection import Selection, Tried, exceeds
from unvanish.train.batches import Batch

CE = functional.cross_entropy


def classes(batches: int = 30, size: int = 64) -> list[tuple[torch.Tensor, torch.Tensor]]:
    x = torch.randn(batches, size, 16, generator=torch.Generator().manual_seed(1))
    return list(zip(x, x[..., :4].argmax(-1), strict=True))


def mlp(activation: type[nn.Module] = nn.Sigmoid, depth: int = 10, outputs: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(16, 16), activation())]
    return nn.Sequential(*layers, nn.Linear(16, outputs))


@pytest.fixture(scope="module")
def sigmoid() -> tuple[nn.Module, torch.optim.Optimizer, uv.Repair]:
    """A deep sigmoid network that vanishes, and its repair."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    return model, optimizer, uv.repair(model, classes(), CE, optimizer, steps=100)


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, loss_fn, steps: int = 200) -> float:
    """Accuracy of a plain loop's, on other data."""
    torch.manual_seed(7)
    for step in range(steps):
        x, y = classes()[step % 24]
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()
    x, y = classes()[-1]
    return (model.eval()(x).argmax(-1) == y).float().mean().item()


def test_a_vanishing_network_is_repaired_and_the_repair_heals(sigmoid):
    model, _, repair = sigmoid
    assert repair.outcome == "repaired"
    assert repair.diagnosis.primary.kind == "vanishing"
    assert repair.proof.interval[0] > 0.2
    assert len(repair.proof.before) == 5
    before = copy.deepcopy(model)
    assert trained(before, torch.optim.Adam(before.parameters(), 3e-3), CE) < 0.5
    best = repair.best
    assert type(best.model) is nn.Sequential
    held = {id(one) for group in best.optimizer().param_groups for one in group["params"]}
    assert held == set(map(id, best.model.parameters()))
    assert best.optimizer() is not best.optimizer()


def test_the_code_as_printed_makes_the_same_and_heals(sigmoid):
    model, optimizer, repair = sigmoid
    names = {"torch": torch, "uv": uv, "model": model, "optimizer": optimizer, "loss_fn": CE, "batches": classes()}
    exec(repair.best.code, names)
    made = (names["model"], repair.best.model)
    assert all(torch.equal(one, other) for one, other in zip(*(m.parameters() for m in made), strict=True))
    assert type(names["optimizer"]) is type(repair.best.optimizer())
    own, its = (dict(one.param_groups[0]) | {"params": None} for one in (names["optimizer"], repair.best.optimizer()))
    assert own == its
    assert trained(names["model"], names["optimizer"], names["loss_fn"]) > 0.7


def test_nothing_that_was_given_is_touched():
    model, batches = mlp(), classes()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    data = [x.clone() for x, _ in batches]
    uv.repair(model, batches, CE, optimizer, steps=20)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert not optimizer.state
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert all(torch.equal(one, x) for one, (x, _) in zip(data, batches, strict=True))


def test_the_same_steps_and_seed_give_the_same_answer(sigmoid):
    model, optimizer, repair = sigmoid
    again = uv.repair(model, iter(classes()), CE, optimizer, steps=100)
    assert again.proof == repair.proof
    assert again.best.code == repair.best.code
    assert [one.scores for one in again.tried] == [one.scores for one in repair.tried]


def test_the_answer_says_what_was_wrong_what_to_change_and_its_proof(sigmoid):
    repair = sigmoid[2]
    text = str(repair)
    assert text.startswith("Sequential is repaired: ")
    for part in ("What was wrong", "What to change", "Proof", "What was tried", "Cost: up to", "95% interval"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 80
    roles = {one.role for one in repair.tried}
    assert roles == {"untreated", "random remedy", "batch norm + Adam", "candidate"}
    data = json.loads(json.dumps(repair.to_dict()))
    assert data["outcome"] == "repaired"
    assert data["proof"]["interval"][0] > 0
    assert "\n" not in repr(repair)
    page = repair._repr_html_()
    assert "What to change" in page
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_what_is_healthy_is_left():
    model = mlp(nn.ReLU, depth=2)
    repair = uv.repair(model, classes(), CE, torch.optim.Adam(model.parameters(), 1e-2), steps=30)
    assert repair.outcome == "healthy"
    assert repair.best is None
    assert not repair.tried


def test_labels_without_a_pattern_are_not_proven_or_cannot_be_helped():
    generator = torch.Generator().manual_seed(0)
    batches = [(x, torch.randint(0, 4, (64,), generator=generator)) for x, _ in classes()]
    model = mlp()
    repair = uv.repair(model, batches, CE, torch.optim.Adam(model.parameters(), 1e-2), steps=30)
    assert repair.outcome in ("not proven", "cannot help")
    assert repair.best is None


def test_a_cut_graph_cannot_be_helped_and_says_what_to_change():
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.relu(self.first(x)).detach())

    model = Cut()
    repair = uv.repair(model, classes(), CE, torch.optim.SGD(model.parameters(), 1e-4), steps=30)
    assert repair.outcome == "cannot help"
    assert "detach()" in str(repair)
    assert not repair.tried


def test_too_few_data_are_said():
    model = mlp()
    repair = uv.repair(model, classes(3, 40), CE, torch.optim.Adam(model.parameters(), 3e-3), steps=30)
    assert repair.outcome == "not proven"
    assert "too few data" in str(repair).lower()


def test_a_rate_that_is_too_high_is_lowered():
    model = mlp(nn.Tanh, depth=3)
    repair = uv.repair(model, classes(), CE, torch.optim.SGD(model.parameters(), 300.0), steps=60)
    assert repair.outcome == "repaired"
    assert repair.best.optimizer().param_groups[0]["lr"] < 100 or type(repair.best.optimizer()).__name__ == "Adam"


def test_prices_are_trained_in_scaled_units_and_told_in_their_own():
    x = torch.randn(40, 64, 8, generator=torch.Generator().manual_seed(1))
    batches = [(one, 250_000 + 80_000 * one[:, :1]) for one in x]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    repair = uv.repair(model, batches, nn.MSELoss(), torch.optim.Adam(model.parameters(), 1e-2), steps=100)
    assert repair.outcome == "repaired"
    assert repair.metric == "R²"
    best, optimizer = repair.best, repair.best.optimizer()
    for one, target in batches * 3:
        optimizer.zero_grad()
        best.loss_fn(best.model(one), target).backward()
        optimizer.step()
    assert (best.model.eval()(x[0]) - batches[0][1]).abs().mean().item() < 20_000


def test_what_is_no_training_is_refused_in_a_sentence():
    model = mlp()
    with pytest.raises(uv.RecipeError, match="needs the optimizer"):
        uv.repair(model, classes(), CE)
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(uv.RecipeError, match="not both"):
        uv.repair(model, classes(), CE, optimizer, steps=3, budget_s=3)
    with pytest.raises(uv.RecipeError, match="above 0"):
        uv.repair(model, classes(), CE, optimizer, budget_s=0)
    with pytest.raises(uv.UnvanishError, match="no batches"):
        uv.repair(model, [], CE, optimizer)


def test_ctrl_c_gives_what_was_found_so_far():
    model = mlp()

    def interrupt(text: str) -> None:
        if text.startswith("proof, seed 3"):
            raise KeyboardInterrupt

    repair = uv.repair(model, classes(), CE, torch.optim.Adam(model.parameters(), 3e-3), steps=100, progress=interrupt)
    assert repair.interrupted
    assert repair.outcome == "not proven"
    assert repair.tried
    assert "interrupted" in str(repair)


# Parts


def test_the_interval_is_student_s():
    rng = np.random.default_rng(0)
    before, after = rng.normal(0, 1, 5), rng.normal(1, 1, 5)
    low, high = Proof(tuple(before), tuple(after)).interval
    test = stats.ttest_rel(after, before).confidence_interval(0.95)
    assert (low, high) == pytest.approx((test.low, test.high))
    assert not Proof((0.0,) * 4, (1.0, 1.1, 0.9, 1.0)).holds  # four seeds are too few
    assert Proof((0.0,) * 5, (1.0, 1.1, 0.9, 1.0, 1.0)).holds
    assert not Proof((0.0,) * 5, (1.0, -1.0, 0.5, -0.5, 0.1)).holds


def test_from_nothing_to_chance_is_no_repair():
    from_nan, to_chance = (-1.0,) * 5, (0.10, 0.11, 0.09, 0.10, 0.10)
    assert Proof(from_nan, to_chance).holds
    assert not Proof(from_nan, to_chance, chance=0.1).holds
    assert Proof(from_nan, (0.2, 0.21, 0.19, 0.2, 0.2), chance=0.1).holds


@pytest.mark.parametrize(
    ("metric", "targets", "expected"),
    [
        ("accuracy", [0, 1, 1, 2], 0.5),
        ("2 AUC − 1", [0.0, 1.0], 0.0),
        ("R²", [0.5, 3.0], 0.0),
        ("−loss", [0.5], -float("inf")),
    ],
)
def test_what_a_constant_answer_scores(metric, targets, expected):
    assert chance(metric, [Batch(torch.zeros(len(targets), 1), torch.tensor(targets))]) == expected


def test_a_change_is_named_by_what_stands_before_its_reason():
    for fix in DRAWS:
        name = str(Change((fix,)))
        assert name.count("(") == name.count(")")
        assert str(fix).startswith(name)
    assert str(Change((DRAWS[0],))) == "critical initial weights (He for ReLU, σ_w = 1 for tanh: xavier_normal_)"
    assert str(Change((DRAWS[-1],))) == "orthogonal recurrent weights"


def test_by_chance_the_interval_holds_once_in_forty():
    """Of networks that the change does nothing for."""
    rng = np.random.default_rng(0)
    held = [Proof(tuple(rng.normal(0, 1, 5)), tuple(rng.normal(0, 1, 5))).holds for _ in range(2000)]
    assert np.mean(held) == pytest.approx(0.025, abs=0.011)  # three standard errors


def test_parts_are_disjoint_and_cover_all():
    kept, whole = read(classes(23), None)
    parts = parts_of(kept, whole)
    assert [len(part) for part in (parts.train, parts.select, parts.prove)] == [15, 4, 4]
    together = torch.cat([batch.input for part in (parts.train, parts.select, parts.prove) for batch in part])
    assert torch.equal(together, torch.cat([x for x, _ in classes(23)]))
    few = parts_of(read(classes(2, 400), None)[0], True)
    assert few.samples == (480, 160, 160)
    assert not few.why
    first, again, other = (list(parts.order(seed, 30)) for seed in (0, 0, 1))
    assert len(first) == 30
    assert all(torch.equal(a.input, b.input) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a.input, b.input) for a, b in zip(first, other, strict=True))
    seen = torch.cat([batch.input for batch in first[:15]])
    assert torch.equal(seen.sort(0).values, torch.cat([batch.input for batch in parts.train]).sort(0).values)


def test_scores():
    linear = nn.Linear(16, 4)
    batch = Batch(*classes()[0])
    assert metric_of(linear, batch) == "accuracy"
    right = float((linear(batch.input).argmax(-1) == batch.target).float().mean())
    assert scores("accuracy", linear, [batch], CE)[0] == pytest.approx(right)
    identity = nn.Identity()
    numbers = Batch(torch.randn(50, 3), torch.randn(50, 3))
    assert metric_of(identity, numbers) == "R²"
    assert scores("R²", identity, [Batch(numbers.target, numbers.target)], CE)[0] == pytest.approx(1.0)
    mean = numbers.target.mean(0).expand(50, 3)
    assert scores("R²", identity, [Batch(mean, numbers.target)], CE)[0] == pytest.approx(0.0, abs=1e-6)
    assert scores("R²", identity, [Batch(mean * torch.nan, numbers.target)], CE)[0] == -1.0
    yes = Batch(torch.randn(50, 1), (torch.rand(50, 1) > 0.5).float())
    assert metric_of(identity, yes) == "2 AUC − 1"
    assert metric_of(identity, Batch(torch.randn(50, 3), None)) == "−loss"
    assert scores("−loss", identity, [numbers], functional.mse_loss)[0] < 0
    noisy = nn.Sequential(linear, nn.Dropout(0.9)).train()
    assert scores("accuracy", noisy, [batch], CE)[0] == pytest.approx(right)
    assert noisy.training
    assert noisy[1].training


def test_it_is_proven_on_what_the_selection_has_not_seen():
    """Where the targets of the proof are noise nothing is proven; where those of the selection are nothing is found."""
    generator, model = torch.Generator().manual_seed(0), mlp()
    for place in (slice(24, 30), slice(18, 24)):
        batches = classes()
        batches[place] = [(x, torch.randint(0, 4, (64,), generator=generator)) for x, _ in batches[place]]
        repair = uv.repair(model, batches, CE, torch.optim.Adam(model.parameters(), 3e-3), steps=100)
        assert repair.outcome == "not proven"
        assert (repair.selected is not None) == (place.start == 24)


def test_of_what_cannot_be_told_apart_the_smallest_change_is_taken():
    two, one, worse = (
        Change.of((uv.NormalizeInside(learned=True), uv.BetterOptimizer())),
        Change((uv.CentredCriticalInit(),)),
        Change((uv.LearningRate(),)),
    )
    scored = {Change(()): [0.2, 0.22, 0.18], two: [0.82, 0.8, 0.81], one: [0.81, 0.8, 0.82], worse: [0.5, 0.52, 0.51]}
    tried = [Tried(change, scores={10: float(np.mean(by))}, by_batch=np.array(by)) for change, by in scored.items()]
    tried[0].role = "untreated"
    nothing = {"make": None, "parts": None, "seed": 0, "said": print, "stopped": bool, "signal_counts": False}
    selection = Selection(metric="accuracy", loss_fn=CE, steps=10, tried=tried, **nothing)
    assert selection._chosen(tried[0]).change == one
    tried[2].dropped = "its loss diverges"
    assert selection._chosen(tried[0]).change == two


def test_what_exceeds_what():
    assert exceeds(np.array([0.8, 0.82, 0.81]), np.array([0.5, 0.52, 0.49]))
    assert not exceeds(np.array([0.505, 0.52, 0.49]), np.array([0.5, 0.52, 0.49]))  # too little
    assert not exceeds(np.array([0.9, 0.2, 0.7]), np.array([0.5, 0.5, 0.5]))  # chance
    assert exceeds(np.array([-1.0, -1.0]), np.array([-np.inf, -np.inf]))


def test_candidates_come_from_the_findings_and_pairs_fit_together(sigmoid):
    found = singles(sigmoid[2].diagnosis)
    assert found[0].parts == (uv.CentredCriticalInit(),)
    assert len(set(found)) == len(found) <= 10
    assert BESIDE.size[0] == 2
    two = pairs(found[:3])
    assert all(change.size[0] == 2 for change in two)
    assert all(
        type(change.parts[0]) is not type(change.parts[1]) or not isinstance(change.parts[0], uv.Remedy)
        for change in two
    )
    order = Change.of((uv.LearningRate(), uv.HeInit(), uv.BetterOptimizer(), uv.BetterActivation())).parts
    assert [type(one).__name__ for one in order] == ["BetterActivation", "BetterOptimizer", "HeInit", "LearningRate"]
    assert by_hand(sigmoid[2].diagnosis) is None


def test_an_optimizer_that_is_there_already_is_no_change():
    net = nn.Linear(2, 2)
    setup = uv.Setup.like(net, torch.optim.Adam(net.parameters(), 1e-3), CE, torch.randn(3, 2))
    assert setup.blocks == ()
    with pytest.raises(uv.NothingToDo, match="already"):
        uv.BetterOptimizer("Adam", 0.001).apply(setup)
    assert uv.BetterOptimizer("Adam", 0.01).apply(setup).build()[1].param_groups[0]["lr"] == 0.01


# The command line

FILE = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    x = torch.randn(24, 64, 16)
    layers = [layer for _ in range(10) for layer in (nn.Linear(16, 16), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(16, 4))
    return {"model": model, "batches": list(zip(x, x[..., :4].argmax(-1))), "loss_fn": nn.CrossEntropyLoss(),
            "optimizer": torch.optim.Adam(model.parameters(), 3e-3)}

def cut():
    return make() | {"loss_fn": lambda out, y: nn.functional.cross_entropy(out.detach().requires_grad_(), y)}
"""


def command(folder, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unvanish", *words], capture_output=True, text=True, cwd=folder, check=False
    )


def test_the_command_repairs_records_and_exits(tmp_path):
    (tmp_path / "model.py").write_text(FILE)
    done = command(tmp_path, "repair", "model.py:make", "--steps", "60", "--format", "json", "--html", "record.html")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["outcome"] == "repaired"
    assert "uv." in data["code"]
    assert "What to change" in (tmp_path / "record.html").read_text()
    done = command(tmp_path, "check", "model.py:cut", "--fix")
    assert done.returncode == 1
    assert "cannot be repaired" in done.stdout
    done = command(tmp_path, "repair", "model.py:make", "--format", "jsn")
    assert done.returncode == 2
    assert "'jsn' is not one of 'text'" in done.stderr


def test_models_of_several_inputs_are_repaired_by_changes_of_their_layers():
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(depth=8)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.net(a + b)

    for wrapped in (lambda x: {"a": x, "b": 0 * x}, lambda x: (x, 0 * x)):
        model = Sum()
        batches = [(wrapped(x), y) for x, y in classes()]
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        repair = uv.repair(model, batches, CE, optimizer, steps=100)
        assert repair.outcome == "repaired"
        names = {"torch": torch, "uv": uv, "model": model, "optimizer": optimizer, "loss_fn": CE, "batches": batches}
        exec(repair.best.code, names)
        pair = zip(names["model"].parameters(), repair.best.model.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pair)


def test_what_a_candidate_is_compared_with_may_be_one_itself():
    """Where Adam is there already, batch norm with Adam is batch norm, which goes into pairs all the same."""
    model = mlp()
    repair = uv.repair(model, classes(), CE, torch.optim.Adam(model.parameters(), 0.001), steps=100)
    norm = next(one for one in repair.tried if one.role == "batch norm + Adam")
    assert norm.change.parts == (uv.NormalizeInside("batch-norm", learned=True),)
    assert norm.candidate
    assert not any(isinstance(part, uv.BetterOptimizer) for one in repair.tried for part in one.change.parts[1:])


def test_a_deep_network_gets_one_more_part():
    """Where two do not reach what simple models do."""
    torch.manual_seed(0)
    layers = [layer for _ in range(40) for layer in (nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.2))]
    model = nn.Sequential(*layers, nn.Linear(16, 4))
    repair = uv.repair(model, classes(), CE, torch.optim.SGD(model.parameters(), 0.01), steps=60)
    assert any(len(one.change.parts) > 2 and one.candidate for one in repair.tried)
    assert repair.outcome == "repaired"


def test_neither_dropout_nor_what_was_drawn_before_changes_the_answer():
    def repaired(before: int) -> uv.Repair:
        torch.manual_seed(0)
        layers = [layer for _ in range(8) for layer in (nn.Linear(16, 16), nn.Sigmoid(), nn.Dropout(0.1))]
        model = nn.Sequential(*layers, nn.Linear(16, 4))
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        torch.manual_seed(before)
        return uv.repair(model, classes(), CE, optimizer, steps=40)

    one, other = repaired(1), repaired(2)
    assert [tried.scores for tried in one.tried] == [tried.scores for tried in other.tried]
    assert one.proof == other.proof


def test_of_a_few_large_batches_the_code_takes_what_was_trained_on():
    model, batches = mlp(), classes(2, 640)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    repair = uv.repair(model, batches, CE, optimizer, steps=100)
    assert repair.outcome == "repaired"
    assert "next(iter(batches))[0][:384]" in repair.best.code
    names = {"torch": torch, "uv": uv, "model": model, "optimizer": optimizer, "loss_fn": CE, "batches": batches}
    exec(repair.best.code, names)
    assert torch.equal(next(names["model"].parameters()), next(repair.best.model.parameters()))
