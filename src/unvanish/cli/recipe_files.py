"""Recipes in files, JSON or TOML, both ways; and recipes changed by settings."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from unvanish.core.activations import activation_name
from unvanish.core.errors import RecipeError
from unvanish.core.input import text_of
from unvanish.core.optimizer import Optimizer
from unvanish.core.output import write_output
from unvanish.core.recipe import Recipe
from unvanish.core.remedy import Remedy
from unvanish.data.known import load_data
from unvanish.models.mlp import MLP
from unvanish.study.methods import baseline
from unvanish.study.settings import check_effect, init_named, recipe_of, remedies_in, remedy_named

KINDS = (".json", ".toml")


def read_recipe(path: Path) -> Recipe:
    """The recipe of a file, as `Recipe.model_dump` or `--save-recipe` writes it, or of settings such as `depth = 20`.

    Raises `RecipeError`, naming the file, where it holds none.
    """
    kind = _kind(path)
    text = text_of(path)
    try:
        found = json.loads(text) if kind == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise RecipeError(f"{path} is no {kind[1:].upper()}: {error}") from error
    if not isinstance(found, dict):
        raise RecipeError(f"{path} holds no recipe: a table of names and values is needed")
    try:
        if "network" not in found:
            return recipe_of(found)
        return Recipe.model_validate({"init_std": None, **found})  # TOML has no null
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def write_recipe(recipe: Recipe, path: Path) -> None:
    kind = _kind(path)
    whole = json.dumps(recipe.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    write_output(path, whole if kind == ".json" else as_toml(recipe))


def as_toml(recipe: Recipe) -> str:
    """What is `null` in JSON is left out: the fields have `None` as their default."""
    return tomli_w.dumps(_without_none(recipe.model_dump(mode="json")))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value


def recipe_with(recipe: Recipe | None, settings: Mapping[str, Any]) -> Recipe:
    """A recipe changed by settings, whose remedies come after its own; without one, the recipe of the settings."""
    if recipe is None:
        check_effect(settings, *remedies_in(settings))
        return recipe_of(settings)
    given, changes = dict(settings), {}
    if "method" in given:
        raise RecipeError("--method makes a recipe of its own; leave it out beside --recipe")
    network = recipe.network
    if "data" in given:  # the same again, or another, to which the network is fitted
        found = load_data(given.pop("data"))
        changes["data"] = found.name
        if isinstance(network, MLP):
            network = replace(network, inputs=found.inputs, classes=found.classes)
            changes["network"] = network
    shape = {name: given.pop(name) for name in ("depth", "width", "activation") if name in given}
    if shape:
        if not isinstance(network, MLP):
            raise RecipeError(f"--{', --'.join(shape)} change an MLP, and the recipe's network is {network}")
        changes["network"] = _reshaped(network, **shape)
    remedies = tuple(map(remedy_named, given.pop("remedies", ())))
    check_effect(settings, recipe.remedies, remedies)
    if "init" in given:
        drawn = init_named(given.pop("init"))
        changes["init_std"] = None if isinstance(drawn, Remedy) else drawn
        remedies = (drawn, *remedies) if isinstance(drawn, Remedy) else remedies
        changes["remedies"] = tuple(one for one in recipe.remedies if one.replaces != "init")
    if "optimizer" in given or "lr" in given:
        old = recipe.optimizer
        name = given.pop("optimizer", old.name)
        same = str(name).lower() == old.name.lower()
        usual = old.lr if same else 0.01 if str(name).lower() == "sgd" else 0.001
        changes["optimizer"] = Optimizer(name, given.pop("lr", usual), old.options if same else {})
    return recipe.but(**changes, **given).with_remedies(*remedies)


def _reshaped(network: MLP, depth: int | None = None, width: int | None = None, activation: str | None = None) -> MLP:
    """With what is given; all else stays, but for the options of another activation."""
    if activation is not None and activation_name(activation) != network.activation:
        network = replace(network, activation=activation, options={})
    if depth is None and width is None:
        return network
    widths = set(network.hidden) if width is None else {width}
    if len(widths) > 1:
        said = ", ".join(map(str, network.hidden))
        raise RecipeError(f"--depth needs --width beside it: the recipe's layers have different widths, {said}")
    return replace(network, hidden=(*widths,) * (len(network.hidden) if depth is None else depth))


def baseline_of(recipe: Recipe) -> Recipe:
    """The published baseline with the depth, widths, data, length and seed of a recipe."""
    network: Any = recipe.network
    plain = baseline()
    fitted = replace(MLP(), hidden=network.hidden, inputs=network.inputs, classes=network.classes)
    return recipe.but(network=fitted, init_std=plain.init_std, optimizer=plain.optimizer, remedies=())


def _kind(path: Path) -> str:
    if path.suffix.lower() not in KINDS:
        raise RecipeError(f"a recipe is a .json or a .toml file, not '{path.name}'")
    return path.suffix.lower()
