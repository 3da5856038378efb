"""What is public: equality and hashes, one-line reprs, what `check` takes, and names that go."""

import copy
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

import unvanish as uv
from test_check import LOSS, deep_sigmoid, healthy, toy
from unvanish.study.methods import METHODS
from unvanish.study.names import METHOD_REMEDIES

VALUES = [
    uv.Optimizer("SGD", 0.1, {"momentum": 0.9}),
    uv.MLP(hidden=(4,), activation="ELU", options={"alpha": 2.0}),
    uv.BetterActivation("ELU", {"alpha": 2.0}),
    uv.BetterOptimizer("Adam", 0.01, {"betas": [0.9, 0.99]}),
    uv.NormalizeInside(),
    uv.SkipConnection(),
    uv.TrainSomeLayers(),
    uv.WeightIncreasing(),
    uv.Stage(3),
    uv.Init(0.5),
    uv.baseline(),
    uv.Finding("UV001", "vanishing", "vanishing gradient", "…", evidence={"signal_left": 0.1}),
    uv.Event("known", "ab", {"x": 1}),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_frozen_values_are_equal_and_have_equal_hashes(value) -> None:
    twin = copy.deepcopy(value)
    assert twin == value
    assert hash(twin) == hash(value)
    assert len({twin, value}) == 1
    assert "\n" not in repr(value)


def test_diagnoses_tables_and_series_can_be_compared() -> None:
    one, other = (uv.check(deep_sigmoid(), toy(), LOSS) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one.table == other.table
    assert one != uv.check(healthy(), toy(), LOSS)
    assert one.series["backward_rms"] == other.series["backward_rms"]
    assert one.series["backward_rms"] != one.series["backward_norm"]


def test_reprs_are_one_line_and_say_what_it_is() -> None:
    model = healthy()
    diagnosis = uv.check(deep_sigmoid(), toy(), LOSS)
    record = uv.run(uv.baseline(hidden=(8,), samples=512, epochs=1))
    flow = uv.watch(model, torch.optim.SGD(model.parameters(), 0.1))
    setup = uv.Setup.of(model, torch.zeros(1, 16))
    shown = [
        repr(x)
        for x in (diagnosis, record, flow, setup, record.series, record.series["dead"], record.table, uv.MLP().build())
    ]
    assert all("\n" not in text and len(text) < 250 for text in shown)
    assert "UV001 vanishing" in shown[0]
    assert "finished after 1 epoch," in shown[1]
    assert str(uv.baseline()) == "7 x 128 sigmoid, no remedy"


def test_notebooks_get_html_that_inherits_their_colours() -> None:
    diagnosis = uv.check(deep_sigmoid(), toy(), LOSS)
    record = uv.run(uv.baseline(hidden=(8, 8), samples=512, epochs=1))
    for html in (diagnosis._repr_html_(), record._repr_html_()):
        assert "<table" in html
        assert "--jp-ui-font-color1" in html
        assert "<script" not in html
        assert "prefers-color-scheme" not in html


def test_weights_are_drawn_by_build_and_the_repr_says_that_they_are_not_yet() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
    with torch.no_grad():
        net[1].weight.fill_(3.0)
        net[1].running_mean.fill_(2.0)
    before = copy.deepcopy(net.state_dict())
    setup = uv.WeightIncreasing(1.0).apply(uv.Setup.of(net, torch.zeros(2, 4)))
    assert "to be drawn by build()" in repr(setup)
    assert "to be drawn" not in repr(uv.Setup.of(net, torch.zeros(2, 4)))
    model, optimizer = setup.build()
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert not torch.equal(model[0].weight, net[0].weight)
    assert torch.equal(model[1].weight, torch.full((4,), 3.0))  # what a norm has learned is no weight
    assert torch.equal(model[1].running_mean, torch.full((4,), 2.0))
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    with pytest.warns(DeprecationWarning, match="setup.initialised"):
        uv.initialised(setup)


def made() -> nn.Module:
    return deep_sigmoid()


def everything() -> dict:
    model = deep_sigmoid()
    return {"model": model, "batches": toy(), "loss": LOSS, "optimizer": torch.optim.SGD(model.parameters(), 0.1)}


class Own(nn.Module):
    """Computes its loss itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = healthy()

    def forward(self, x, labels):
        class Output(dict):
            loss = None

        out = Output(logits=self.net(x))
        out["loss"] = out.loss = LOSS(out["logits"], labels)
        return out


def test_what_check_takes() -> None:
    model = deep_sigmoid()
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    parts = list(model.parameters())
    several = [torch.optim.SGD(parts[:6], 0.1), torch.optim.SGD(parts[6:], 0.1)]
    kinds = [
        uv.check(model, toy(), LOSS, sgd),
        uv.check(model, toy(), LOSS, several),
        uv.check(model, toy(), LOSS, lambda parameters: torch.optim.SGD(parameters, 0.1)),
        uv.check(made, toy(), LOSS),
        uv.check(everything),
        uv.check({"model": model, "batches": toy(), "loss_fn": LOSS}),
    ]
    assert [one.primary.kind for one in kinds if one.primary] == ["vanishing"] * 6
    own = uv.check(Own(), [({"x": x, "labels": y}, y) for x, y in toy()])
    assert own.healthy is not False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((lambda: None, toy(), LOSS), "gave nothing"),
        ((lambda: {"model": healthy(), "modle": 1}, toy(), LOSS), "gave 'modle'"),
        ((3, toy(), LOSS), "not a int"),
        ((healthy(),), "there are no batches"),
        ((healthy(), toy()), "has no .loss; give loss_fn"),
        ((healthy(), toy(), "mse"), "the loss is a function"),
        ((healthy(), toy(), LOSS, 0.1), "not a float"),
        ((healthy(), toy(), LOSS, []), "at least one"),
        ((healthy(), toy(), LOSS, lambda parameters: None), "not a NoneType"),
    ],
)
def test_what_check_does_not_take_is_said_in_a_sentence(arguments, said) -> None:
    with pytest.raises(uv.UnvanishError, match=said):
        uv.check(*arguments)


def test_healthy_has_three_values() -> None:
    good = healthy()
    adam = torch.optim.Adam(good.parameters(), 0.01)
    assert uv.check(good, toy(), LOSS, adam).healthy is True
    assert uv.check(good, toy(), LOSS, adam).primary is None
    assert uv.check(deep_sigmoid(), toy(), LOSS).healthy is False
    noise = [(x, torch.randint(0, 4, (64,))) for x, _ in toy()]
    unsure = uv.check(good, noise, LOSS, adam)
    assert unsure.healthy is not True
    few = uv.check(good, noise, LOSS, torch.optim.Adam(good.parameters(), 1e-4), steps=10)
    assert few.healthy is None
    uv.assert_healthy(good, toy(), LOSS, adam)
    with pytest.warns(UserWarning, match="not sure"):
        uv.assert_healthy(good, noise, LOSS, torch.optim.Adam(good.parameters(), 1e-4), steps=10)
    with pytest.raises(AssertionError, match="UV001"):
        uv.assert_healthy(deep_sigmoid(), toy(), LOSS)


def test_prescriptions_can_be_applied() -> None:
    model = deep_sigmoid()
    diagnosis = uv.check(model, toy(), LOSS, torch.optim.SGD(model.parameters(), 0.1))
    setup = uv.Setup.of(model, toy()[0][0])
    remedies = [one for one in diagnosis.prescriptions if isinstance(one, uv.Remedy)]
    assert {type(one) for one in remedies} >= {uv.BetterActivation, uv.NormalizeInside, uv.SkipConnection}
    for remedy in remedies:
        assert remedy.apply(setup) is not setup
    assert diagnosis.primary is not None
    assert set(diagnosis.primary.layers) <= set(setup.layers)
    told = diagnosis.to_dict()["findings"][0]["prescriptions"]
    assert [uv.Remedy.load(one["remedy"]) for one in told if "remedy" in one] == remedies


def test_names_that_go_still_work_for_a_release() -> None:
    diagnosis = uv.check(deep_sigmoid(), toy(), LOSS)
    with pytest.warns(DeprecationWarning, match="healthy is False"):
        assert diagnosis.sick
    with pytest.warns(DeprecationWarning, match="learned"):
        assert diagnosis.learns is diagnosis.learned
    with pytest.warns(DeprecationWarning, match="raise_if_failing"), pytest.raises(uv.Failing):
        diagnosis.raise_if_sick()
    with pytest.warns(DeprecationWarning, match="advice"):
        assert diagnosis.findings[0].remedies
    with pytest.warns(DeprecationWarning, match="Failing"):
        assert uv.Sick is uv.Failing
    with pytest.warns(DeprecationWarning, match="loss_fn"):
        uv.check(healthy(), toy(), loss=LOSS)
    with pytest.warns(DeprecationWarning, match="table"):
        assert diagnosis.reading is diagnosis.table


def test_the_version_and_every_name_are_there() -> None:
    assert uv.__version__[0].isdigit()
    for name in uv.__all__:
        assert getattr(uv, name) is not None
    assert set(uv.__all__) | {"__version__"} == set(dir(uv))


def test_the_names_that_are_known_at_once_are_those_of_the_methods() -> None:
    assert {name: tuple(one.kind for one in remedies) for name, (_, remedies) in METHODS.items()} == METHOD_REMEDIES


def test_a_misspelt_method_starts_nothing() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "unvanish", "reproduce", "5x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no method or remedy is called '5x'" in done.stderr
    assert "unvanish.study.executors.pool" not in done.stderr
    assert "| torch\n" not in done.stderr  # which takes the time
    assert time.monotonic() - began < 20


def test_a_watch_measures_thoroughly_first_and_then_at_every_32nd_step() -> None:
    model = healthy()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    batches = toy()
    with uv.watch(model, optimizer, every=1) as flow:
        for step in range(70):
            x, y = batches[step % len(batches)]
            optimizer.zero_grad()
            LOSS(model(x), y).backward()
            optimizer.step()
    activation, update = flow.series["activation_rms"], flow.series["update_ratio"]
    thorough = [step for step, row in zip(activation.steps, activation.values, strict=True) if (row == row).all()]
    assert thorough == [*range(32), 32, 64]
    assert [s for s, row in zip(update.steps, update.values, strict=True) if (row == row).all()] == thorough
    assert (flow.series["backward_norm"].values > 0).all()


def test_a_checkpoint_is_on_disk_before_the_row_that_names_it(tmp_path, monkeypatch) -> None:
    from sqlalchemy import Engine, event

    from unvanish.store.backends import folder_files

    recipe = uv.baseline(hidden=(8,), samples=512, epochs=1)
    seen: list[str] = []
    write = folder_files.write_whole

    def noted(path, content) -> None:
        write(path, content)
        seen.append(path.parent.name)

    def listened(*given) -> None:
        if "UPDATE run" in given[2] and "state=" in given[2]:
            seen.append("row")

    monkeypatch.setattr(folder_files, "write_whole", noted)
    event.listen(Engine, "before_cursor_execute", listened)
    try:
        uv.run(recipe, store=tmp_path)
    finally:
        event.remove(Engine, "before_cursor_execute", listened)
    assert seen.index("weights") < seen.index("row")
    setup = replace(recipe.setup(), init=None)
    assert setup.layers == ("hidden1", "output")


def test_dir_names_everything_once() -> None:
    assert len(dir(uv)) == len(set(dir(uv)))
    assert set(uv.__all__) <= set(dir(uv))


def test_type_checkers_see_every_public_name():
    from pathlib import Path

    stub = Path(uv.__file__).with_suffix(".pyi").read_text()
    missing = [name for name in dir(uv) if name != "__version__" and f" as {name}\n" not in stub]
    assert not missing


def test_a_notebook_shows_a_recipe_and_plots_a_record_and_a_watch():
    recipe = uv.baseline(samples=256, epochs=1, hidden=(8, 8)).with_remedies(uv.BetterActivation("relu"))
    shown = recipe._repr_html_()
    assert "ReLU after each hidden layer" in shown
    assert "the first 256" in shown
    record = uv.run(recipe)
    assert record.plot().to_dict() == record.series["backward_rms"].plot().to_dict()
    model, batches = healthy(), toy()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with uv.watch(model, optimizer) as flow:
        for x, y in batches:
            optimizer.zero_grad()
            LOSS(model(x), y).backward()
            optimizer.step()
    assert flow.plot("update_ratio").to_dict()["title"] == "update_ratio"
