"""Recipes from plain settings, by the names that the command line and study files share."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from unvanish.core.arguments import at_least_one, in_brief
from unvanish.core.errors import RecipeError, did_you_mean
from unvanish.core.optimizer import Optimizer
from unvanish.core.recipe import Recipe
from unvanish.core.remedy import InitRemedy, Remedy
from unvanish.remedies import ALL, GaussianInit
from unvanish.study.methods import METHODS, baseline

# name → what it sets; what is left out is the published baseline's
SETTINGS: dict[str, str] = {
    "method": "a published method by its id, such as 5, or several, 2+5: their remedies come first",
    "depth": "number of hidden layers (7)",
    "width": "units of each hidden layer (128)",
    "hidden": "the width of each hidden layer, in place of depth and width",
    "activation": "as torch.nn calls it (Sigmoid)",
    "activation_options": "its keyword arguments",
    "init": "the standard deviation of every weight (0.05); default for PyTorch's; or a remedy that draws weights",
    "weight_var": "σ_w² in place of init: weights from N(0, σ_w²/fan_in), as mean-field theory has them",
    "bias_var": "σ_b² beside it: biases from N(0, σ_b²) (0)",
    "optimizer": "as torch.optim calls it (SGD)",
    "lr": "its learning rate (0.01 for SGD, else 0.001)",
    "optimizer_options": "its other keyword arguments",
    "remedies": "remedies in order, each by its name, as skip-every-block or weight-increasing:std=10",
    "epochs": "the length (32)",
    "batch": "images a step (512)",
    "seed": "of the initial weights and of the order of the images (42)",
    "data": "a data set by name, a folder of IDX files, or a .npz file (fashion-mnist)",
    "samples": "only the first so many training images",
    "held_out": "so many training images are evaluated in place of the test images",
}
PARTS = {  # of a recipe, that a remedy may replace
    "activation": "activation",
    "activation_options": "activation",
    "init": "init",
    "weight_var": "init",
    "bias_var": "init",
    "optimizer": "optimizer",
    "lr": "optimizer",
    "optimizer_options": "optimizer",
}
DEPTH, WIDTH, EPOCHS = 7, 128, 32
MOST_LAYERS, MOST_UNITS = 10**5, 10**6


def recipe_of(settings: Mapping[str, Any], *, applied: bool = True) -> Recipe:
    """The recipe of these settings. Raises `RecipeError` where one is unknown or makes no sense.

    applied   whether its remedies fit its network, too, for which that is made
    """
    for name in settings:
        if name not in SETTINGS:
            guess = did_you_mean(name, SETTINGS)
            raise RecipeError(f"no setting is called '{name}'{guess or '; there are ' + ', '.join(SETTINGS)}")
    remedies, named = remedies_in(settings)
    given = {name: value for name, value in settings.items() if name not in ("method", "remedies")}
    plain: dict[str, Any] = {"epochs": EPOCHS, "hidden": _hidden(given)}
    if any(name in given for name in ("init", "weight_var", "bias_var")):
        drawn = _init(given)
        plain["init_std"] = None if isinstance(drawn, Remedy) else drawn
        remedies += (drawn,) if isinstance(drawn, Remedy) else ()
    remedies += named
    plain["optimizer"] = _optimizer(given)
    made = baseline(**{**plain, **given})
    if not remedies:
        return made
    return made.with_remedies(*remedies) if applied else made.but(remedies=remedies)


def remedies_in(settings: Mapping[str, Any]) -> tuple[tuple[Remedy, ...], tuple[Remedy, ...]]:
    """Those of its methods, which come before what `init` draws, and those of `remedies`, which come after."""
    named = tuple(remedy_named(one) for one in _listed("remedies", settings.get("remedies", ())))
    return _remedies_of(settings.get("method", "baseline")), named


def check_effect(names: Collection[str], earlier: Sequence[Remedy], later: Sequence[Remedy]) -> None:
    """Raise `RecipeError` where a remedy replaces what one of these settings sets.

    earlier, later   than what `init` draws; all else is set before both
    """
    for name in names:
        part = PARTS.get(name)
        for remedy in (*(() if part == "init" else earlier), *later):
            if remedy.replaces == part:
                raise RecipeError(f"{name} has no effect beside {remedy.kind} ({remedy}), which sets it anew")


def _remedies_of(method: Any) -> tuple[Remedy, ...]:
    """Of a method, or of several: `2+5`."""
    found: tuple[Remedy, ...] = ()
    for name in str(method).split("+"):
        if name not in METHODS:
            guess = did_you_mean(name, METHODS) or f"; there are {', '.join(METHODS)}"
            raise RecipeError(f"no method is called '{name}'{guess}")
        found += METHODS[name][1]
    return found


def _hidden(given: dict[str, Any]) -> tuple[int, ...]:
    depth, width, hidden = (given.pop(name, None) for name in ("depth", "width", "hidden"))
    if hidden is not None:
        if depth is not None or width is not None:
            raise RecipeError("hidden gives the width of every layer: leave depth and width out")
        return tuple(_listed("hidden", hidden))
    depth = DEPTH if depth is None else depth
    width = WIDTH if width is None else width
    return (at_least_one("width", width, MOST_UNITS),) * at_least_one("depth", depth, MOST_LAYERS)


def _init(given: dict[str, Any]) -> float | Remedy | None:
    variances = {name: given.pop(name) for name in ("weight_var", "bias_var") if name in given}
    if not variances:
        return init_named(given.pop("init"))
    if "init" in given or "weight_var" not in variances:
        raise RecipeError("weight_var and bias_var stand in place of init, and bias_var beside weight_var")
    return GaussianInit(**variances)


def _optimizer(given: dict[str, Any]) -> Optimizer:
    name, options = given.pop("optimizer", "SGD"), given.pop("optimizer_options", {})
    lr = given.pop("lr", None)
    if lr is None:
        lr = 0.01 if str(name).upper() == "SGD" else 0.001
    return Optimizer(name, lr, options)


def init_named(value: Any) -> float | Remedy | None:
    """Initial weights: a standard deviation, PyTorch's default, or a remedy, with or without its `-init`.

    >>> print(init_named("centred-critical")), print(init_named("0.1"))
    centred critical initial weights
    0.1
    (None, None)
    """
    if isinstance(value, Mapping) or not isinstance(value, str):
        return remedy_named(value) if isinstance(value, Mapping) else value
    if value == "default":
        return None
    try:
        return float(value)
    except ValueError:
        pass
    kind, colon, rest = value.partition(":")
    known = [remedy.kind for remedy in ALL if issubclass(remedy, InitRemedy)]
    full = kind if kind in known else f"{kind}-init"
    if full not in known:
        short = [name.removesuffix("-init") for name in known]
        raise RecipeError(
            f"no initial weights are called '{kind}'"
            f"{did_you_mean(kind, short) or '; there are a number, default, ' + ', '.join(short)}"
        )
    return remedy_named(full + colon + rest)


def remedy_named(value: Any) -> Remedy:
    """A remedy from `kind`, `kind:field=value,…` (values as in JSON), or its data.

    >>> remedy_named("weight-increasing:std=10")
    WeightIncreasing(std=10.0)
    """
    if isinstance(value, Remedy | Mapping):
        return Remedy.load(value)
    if not isinstance(value, str):
        raise RecipeError(f"a remedy is named by a text such as skip-every-block, not {in_brief(value)}")
    kind, _, rest = value.partition(":")
    if kind not in [remedy.kind for remedy in ALL]:
        names = [remedy.kind for remedy in ALL]
        guess = did_you_mean(kind, names) or f"; there are {', '.join(names)}"
        raise RecipeError(f"no remedy is called '{kind}'{guess}")
    return Remedy.load({"kind": kind, **dict(map(_field, _parts(rest)))})


def _parts(text: str) -> list[str]:
    """At the commas that stand outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part]


def _field(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"a remedy's fields are given as name=value, not '{text}'")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value.strip()


def _listed(name: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise RecipeError(f"{name} is a list, not {in_brief(value)}")
    return value
