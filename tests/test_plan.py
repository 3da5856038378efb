"""Study files and what they want next, by outcomes that are made up here: no training."""

import math
import os
from pathlib import Path
from threading import Thread

import pytest
import torch

import unvanish as uv
from unvanish.cli.recipe_files import read_recipe
from unvanish.core.curve import Outcome
from unvanish.core.errors import RecipeError
from unvanish.models.mlp import MLP
from unvanish.study.plan import halving, search, select
from unvanish.study.plan.results import reported
from unvanish.study.plan.study import Study
from unvanish.study.plan.tried import tried
from unvanish.study.plan.wanted import wanted
from unvanish.study.settings import recipe_of, remedy_named
from unvanish.study.training import shape_of_recipe

STUDIES = Path(__file__).parents[1] / "studies"


class Made:
    """What is known of runs whose accuracy after each epoch is a function of the recipe."""

    def __init__(self, accuracy, done=()):
        self.accuracy, self.done, self.reached = accuracy, set(done), dict[str, int]()

    def __call__(self, recipe):
        if recipe.digest() not in self.done:
            return None
        value = self.accuracy(recipe, recipe.epochs)
        return Outcome("finished", recipe.epochs, 1.0, value, value, None)

    def after(self, recipe, epochs):
        reached = recipe.epochs if recipe.digest() in self.done else self.reached.get(recipe.digest(), 0)
        return self.accuracy(recipe, epochs) if epochs <= reached else None

    def train(self, runs):
        for recipe, epochs in runs:
            if epochs is None or epochs >= recipe.epochs:
                self.done.add(recipe.digest())
            else:
                self.reached[recipe.digest()] = epochs


def to_the_end(study, known) -> list[list]:
    """All that was wanted, one round after the other."""
    rounds = []
    while found := wanted(study, known):
        assert len(rounds) < 50
        rounds.append(found)
        known.train(found)
    return rounds


def test_axes_are_crossed_with_one_another_with_zipped_ones_and_with_the_list():
    study = Study.model_validate(
        {
            "name": "s",
            "seeds": [1, 2],
            "axes": {"depth": [2, 3], "width": [8, 16]},
            "zip": [{"lr": [0.1, 0.2], "epochs": [3, 4]}],
            "list": [{"remedies": []}, {"remedies": ["he-init"], "activation": "relu"}],
        }
    )
    assert len(study.cells) == 2 * 2 * 2 * 2
    names = [cell.name for cell in study.cells]
    assert names[0] == "depth 2, width 8, lr 0.1, epochs 3, no remedy"
    assert names[-1] == "depth 3, width 16, lr 0.2, epochs 4, he-init, relu"
    recipes = [recipe for cell in study.cells for recipe in study.recipes(cell)]
    assert len({recipe.digest() for recipe in recipes}) == 32
    assert {(r.optimizer.lr, r.epochs) for r in recipes} == {(0.1, 3), (0.2, 4)}


def test_settings_make_the_recipes_that_python_makes():
    assert recipe_of({"method": "5", "epochs": 300}) == uv.method("5")
    assert recipe_of({"method": "2+5", "epochs": 300}) == uv.baseline().with_remedies(
        uv.BetterActivation(), uv.SkipConnection()
    )
    own = recipe_of(
        {"depth": 4, "width": 32, "activation": "tanh", "weight_var": 1.5, "bias_var": 0.1, "optimizer": "adam"}
    )
    assert own.network == uv.MLP(hidden=(32,) * 4, activation="Tanh")
    assert own.remedies == (uv.GaussianInit(1.5, 0.1),)
    assert own.optimizer == uv.Optimizer("Adam", 0.001)
    assert recipe_of({"init": "default"}).init_std is None
    assert remedy_named("skip-connection:pairs=[[1,2],[3,4]]") == uv.SkipConnection(((1, 2), (3, 4)))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dept": 3}, "did you mean 'depth'"),
        ({"depth": 0}, "depth must be a whole number of at least 1"),
        ({"depth": True}, "depth must be a whole number"),
        ({"width": 0}, "width must be"),
        ({"init": "centerd-critical"}, "did you mean 'centred-critical'"),
        ({"remedies": ["skip-conection"]}, "did you mean 'skip-connection'"),
        ({"remedies": "he-init"}, "remedies is a list"),
        ({"remedies": ["weight-increasing:10"]}, "name=value"),
        ({"method": "7"}, "no method is called '7'"),
        ({"hidden": [3], "depth": 2}, "leave depth and width out"),
        ({"bias_var": 1.0}, "beside weight_var"),
        ({"weight_var": 1.0, "init": 0.1}, "in place of init"),
    ],
)
def test_settings_that_make_no_sense_are_told(settings, told):
    with pytest.raises(RecipeError, match=told):
        recipe_of(settings)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"nam": "x"}, "has no 'nam'"),
        ({"axes": {"dept": [1]}}, "did you mean 'depth'"),
        ({"axes": {"depth": []}}, "at least 1"),
        ({"axes": {"seed": [1]}}, "stands at the top"),
        ({"axes": {"depth": [2]}, "list": [{"depth": 3}]}, "varied in two places"),
        ({"zip": [{"depth": [2], "width": [3, 4]}]}, "as many values"),
        ({"seeds": [1, 1]}, "twice"),
        ({"seeds": 3}, "a study's seeds: input should be a list, not 3"),
        ({"axes": {"lr": 3}}, "a study's axes.lr: input should be a list, not 3"),
        ({"compare": {"baseline": "6"}, "axes": {"method": ["5", "2"]}}, "no cell is called '6'"),
        ({"search": {}, "select": {"setting": "lr", "values": [1.0]}}, "one of search, select and halving"),
        ({"search": {"low": 5, "high": 2}}, "from low up to high"),
        ({"budget": {"runs": 1}, "seeds": [1, 2]}, "has 2 runs, and its budget is 1"),
        (
            {"select": {"setting": "lr", "values": [0.1, 1.0]}, "budget": {"runs": 2}},
            "has 3 runs with the last trainings .*, and its budget is 2",
        ),
        ({"axes": {"lr": [0.1, 1.0]}, "halving": {"epochs": [1]}, "budget": {"runs": 2}}, "has 3 runs with"),
        ({"axes": {"method": ["1a", "3"], "lr": [0.1]}}, "cell '3, lr 0.1': lr has no effect beside better-optimizer"),
        ({"base": {"method": "3"}, "select": {"setting": "lr", "values": [0.1]}}, "lr has no effect"),
        ({"list": [{"remedies": ["better-activation"], "activation": "tanh"}]}, "activation has no effect"),
        ({"axes": {"init": ["he"], "remedies": [["weight-increasing"]]}}, "init has no effect"),
        ({"nam": "x", "name": "s", "zips": []}, "a study has no 'nam'"),
        ({"search": {"hi": 3}}, "a study's search has no 'hi'"),
        ({"axes": {"depth": [3, 0]}}, "depth must be"),
        ({"axes": {"depth": [2, 3]}, "search": {}}, r"depth is the setting of \[search\]"),
        (
            {"axes": {"lr": [0.1, 1.0]}, "select": {"setting": "lr", "values": [1.0]}},
            r"lr is the setting of \[select\]",
        ),
        ({"axes": {"held_out": [10, 20]}, "halving": {"epochs": [1]}}, "held_out is not varied"),
        ({"select": {"setting": "held_out", "values": [10, 20]}}, "held_out is not varied"),
        ({"base": {"method": "2+6"}, "search": {"low": 7, "high": 64}}, "cell 'all', depth 14: "),
        ({"base": {"remedies": ["nothing"]}}, "no remedy is called"),
        ({"name": "a/b"}, "pattern"),
    ],
)
def test_study_files_that_make_no_sense_are_told(changes, told):
    with pytest.raises(RecipeError, match=told):
        Study.model_validate({"name": "s", **changes})


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(RecipeError, match=r"bad\.toml is no TOML"):
        Study.read(tmp_path / "bad.toml")
    with pytest.raises(RecipeError, match=r"none\.toml cannot be read"):
        Study.read(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(RecipeError, match=r"latin\.toml cannot be read"):
        Study.read(tmp_path / "latin.toml")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this machine has no /dev/zero")
@pytest.mark.parametrize("read", [Study.read, read_recipe])
def test_a_file_without_an_end_is_not_read_into_memory(read, tmp_path):
    endless = tmp_path / "endless.toml"
    endless.symlink_to("/dev/zero")
    with pytest.raises(RecipeError, match=r"endless\.toml is larger than 10 MB"):
        read(endless)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_study_is_read_from_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_text, args=('name = "s"\n',))
    writer.start()
    assert Study.read(pipe).name == "s"
    writer.join()


def test_a_cell_that_makes_no_sense_is_named(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('name = "s"\n[axes]\nactivation = ["tanh", "relu"]\ninit = ["default", "centred-critical"]\n')
    with pytest.raises(RecipeError, match=r"s\.toml: cell 'relu, centred-critical': no hidden activation has a linear"):
        Study.read(file)


@pytest.mark.parametrize("depths", [2, 30])
def test_of_many_cells_every_value_is_checked_and_not_every_network_made(depths, monkeypatch):
    made = []
    uninitialised = uv.Recipe.uninitialised
    monkeypatch.setattr(uv.Recipe, "uninitialised", lambda self: made.append(1) or uninitialised(self))
    depth, rates = list(range(4, 4 + depths)), [0.1 * n for n in range(1, 21)]
    axes = {"lr": rates, "depth": depth, "remedies": [["skip-connection:pairs=[[1,3]]"]]}
    Study.model_validate({"name": "s", "base": {"width": 2}, "axes": axes})
    assert len(made) == (2 * 20 if depths == 2 else 30 + 20 - 1)
    with pytest.raises(RecipeError, match="skip"):
        Study.model_validate({"name": "s", "base": {"width": 2}, "axes": axes | {"depth": [*depth, 2]}})


def test_no_network_is_made_to_learn_what_recipes_of_one_structure_share(monkeypatch):
    """Of 900 networks of 300 layers that took five minutes."""
    made, build = [], MLP.build
    monkeypatch.setattr(MLP, "build", lambda self: made.append(self.hidden) or build(self))
    drawn = [recipe_of({"depth": 3, "width": 17, "weight_var": 1 + n / 10, "epochs": n}) for n in range(1, 6)]
    made.clear()
    shapes = [shape_of_recipe(recipe.but(epochs=1)) for recipe in drawn]
    assert made == [(17, 17, 17)]
    assert len(set(shapes)) == 1
    assert [recipe.stage_epochs() for recipe in drawn] == [(1,), (2,), (3,), (4,), (5,)]
    assert len(made) == 1
    other = recipe_of({"depth": 3, "width": 17, "weight_var": 1.1, "remedies": ["normalize-inside"], "epochs": 1})
    assert shape_of_recipe(other) != shapes[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"init": 0.05, "remedies": ["xavier-init", "weight-increasing:std=0.05"]},
        {"method": "1a", "init": "xavier", "remedies": ["skip-every-block", "weight-increasing:std=1"]},
    ],
)
def test_what_draws_the_weights_is_no_part_of_the_structure(settings):
    """Without the one before it, the second would find nothing to do."""
    recipe = recipe_of(settings)
    assert recipe.stage_epochs() == (32,)
    assert [one.kind for one in recipe.structure().remedies] == ["skip-every-block"] * ("method" in settings)
    assert shape_of_recipe(recipe) is not None
    assert [one.kind for one in recipe_of({"method": "1a+2+3"}).structure().remedies] == [
        "better-activation",
        "better-optimizer",
    ]


def test_settings_that_have_an_effect_beside_remedies_are_taken():
    Study.model_validate({"name": "s", "base": {"lr": 0.1}, "axes": {"remedies": [[], ["better-optimizer"]]}})
    Study.model_validate({"name": "s", "base": {"method": "1a"}, "axes": {"init": ["xavier"], "lr": [0.1]}})


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_ready_made_studies_can_be_read(file):
    study = Study.read(file)
    assert study.name == file.stem.replace("_", "-")
    assert study.title


@pytest.mark.parametrize("limit", [0, 2, 3, 17, 64, 65, 400, 999, 1000])
def test_the_greatest_depth_is_found(limit):
    study = Study.model_validate({"name": "s", "seeds": [1, 2, 3], "search": {"low": 2, "within": 1.1}})
    known = Made(lambda recipe, _: 0.8 if len(recipe.network.hidden) <= limit else 0.1)
    rounds = to_the_end(study, known)
    found = search.greatest(study, study.cells[0], known)
    assert found.ended
    if limit < 2:
        assert (found.trained, found.failed, str(found)) == (None, 2, "less than 2")
    elif limit >= 1000:
        assert (found.trained, found.failed, str(found)) == (1000, None, "1000 or more")
    else:
        assert found.trained is not None
        assert found.failed is not None
        assert found.trained <= limit < found.failed
        assert found.failed <= max(1.1 * found.trained, found.trained + 1) + 0.5
    assert len(rounds) <= 16
    assert all(len(one) == 3 for one in rounds)


def test_most_seeds_decide():
    study = Study.model_validate({"name": "s", "seeds": [1, 2, 3], "search": {"high": 8}})
    two = Made(lambda recipe, _: 0.1 if recipe.seed == 1 else 0.8)
    to_the_end(study, two)
    assert search.greatest(study, study.cells[0], two).trained == 8
    one = Made(lambda recipe, _: 0.8 if recipe.seed == 1 else 0.1)
    to_the_end(study, one)
    assert search.greatest(study, study.cells[0], one).trained is None


@pytest.mark.parametrize(("classes", "least"), [(10, 0.25), (2, 7 / 12)])
def test_what_counts_as_trained_goes_by_the_number_of_classes(classes, least):
    x, y = torch.eye(classes), torch.arange(classes)
    data = uv.DataSet.of((x, y), (x, y), name=f"{classes}-classes")
    study = Study.model_validate({"name": "s", "seeds": [1], "base": {"data": data.name}, "search": {"high": 1}})
    for accuracy, trained in ((least - 1e-6, None), (least + 1e-6, 1)):
        known = Made(lambda *_, accuracy=accuracy: accuracy)
        to_the_end(study, known)
        assert search.greatest(study, study.cells[0], known).trained == trained


def test_a_selection_looks_at_the_test_images_once():
    study = Study.model_validate(
        {
            "name": "s", "seeds": [1, 2], "axes": {"method": ["5", "2"]},
            "select": {"setting": "lr", "values": [0.1, 0.2, 0.3], "held_out": 5000},
        }
    )  # fmt: skip
    best = {"5": 0.3, "2": 0.1}
    known = Made(
        lambda recipe, _: (
            1 - abs(recipe.optimizer.lr - best["5" if recipe.remedies == uv.method("5").remedies else "2"])
        )
    )
    first, second = to_the_end(study, known)
    assert len(first) == 2 * 3 * 2
    assert {one.recipe.held_out for one in first} == {5000}
    assert {one.recipe.held_out for one in second} == {None}
    assert [one.recipe.optimizer.lr for one in second] == [0.3, 0.3, 0.1, 0.1]
    assert [select.chosen(study, cell, known) for cell in study.cells] == [0.3, 0.1]


def test_a_selection_is_judged_on_images_that_did_not_choose():
    """The base holds images out, on which the value is chosen; the last trainings hold none out."""
    study = Study.model_validate(
        {"name": "s", "base": {"held_out": 500}, "select": {"setting": "lr", "values": [0.1, 1.0], "held_out": 30}}
    )
    chosen, last = to_the_end(study, Made(lambda recipe, epochs: recipe.optimizer.lr))
    assert [one.recipe.held_out for one in chosen] == [500, 500]
    assert [(one.recipe.held_out, one.recipe.optimizer.lr) for one in last] == [(None, 1.0)]


def test_a_selection_goes_by_the_mean_over_the_seeds():
    study = Study.model_validate({"name": "s", "seeds": [1, 2], "select": {"setting": "lr", "values": [0.1, 0.2]}})
    values = {(0.1, 1): 0.9, (0.1, 2): 0.1, (0.2, 1): 0.6, (0.2, 2): 0.6}
    known = Made(lambda recipe, _: values[recipe.optimizer.lr, recipe.seed])
    to_the_end(study, known)
    assert select.chosen(study, study.cells[0], known) == 0.2


def test_halving_stops_the_half_that_is_behind_and_says_so():
    study = Study.model_validate(
        {
            "name": "s", "seeds": [1, 2], "base": {"epochs": 16}, "axes": {"lr": [0.1, 0.2, 0.3, 0.4, 0.5]},
            "halving": {"epochs": [2, 4], "keep": 0.5},
        }
    )  # fmt: skip
    known = Made(lambda recipe, epochs: recipe.optimizer.lr * (1 - math.exp(-epochs)))
    rounds = to_the_end(study, known)
    assert [[one.epochs for one in found] for found in rounds] == [[2] * 10, [4] * 6, [None] * 4]
    assert {one.recipe.held_out for one in rounds[-1]} == {None}  # the test images, once
    assert {one.recipe.optimizer.lr for one in rounds[-1]} == {0.4, 0.5}
    assert {one.recipe.held_out for found in rounds[:-1] for one in found} == {10_000}
    names = {cell.name: epochs for cell, epochs in halving.stopped(study, known).items()}
    assert names == {"lr 0.1": 2, "lr 0.2": 2, "lr 0.3": 4}


@pytest.mark.parametrize("ask", [tried, lambda study, known: reported(study, known, study.cells).items()])
def test_who_goes_on_is_decided_once_for_all_cells(ask, monkeypatch):
    """Once for each, a report of 400 cells took 23 s."""
    study = Study.model_validate(
        {
            "name": "h",
            "base": {"epochs": 4},
            "axes": {"lr": [0.01 * number for number in range(1, 21)]},
            "halving": {"epochs": [1, 2], "keep": 0.3},
        }
    )
    known = Made(lambda recipe, epochs: recipe.optimizer.lr)
    to_the_end(study, known)
    calls, rungs = [], halving.rungs
    monkeypatch.setattr(halving, "rungs", lambda *words: calls.append(1) or rungs(*words))
    assert len(list(ask(study, known))) >= 20
    assert len(calls) == 1


def test_a_study_that_is_asked_again_wants_what_is_missing():
    study = Study.model_validate({"name": "s", "seeds": [1, 2], "axes": {"method": ["5", "2"]}})
    known = Made(lambda *_: 0.5)
    first = wanted(study, known)
    known.train(first[:1])
    assert wanted(study, known) == first[1:]
