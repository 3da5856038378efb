"""The published study as recipes: the baseline, what each method adds to it, and one method that is ours."""

from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from unvanish.core.arguments import in_brief
from unvanish.core.errors import RecipeError, did_you_mean
from unvanish.core.optimizer import Optimizer
from unvanish.core.recipe import Recipe
from unvanish.core.remedy import Remedy
from unvanish.data.images import DataSet
from unvanish.data.known import load_data
from unvanish.models.mlp import MLP
from unvanish.remedies import (
    BetterActivation,
    BetterOptimizer,
    CentredCriticalInit,
    NormalizeInside,
    SkipConnection,
    TrainSomeLayers,
    WeightIncreasing,
)

PUBLISHED_EPOCHS, PUBLISHED_SEED = 300, 42
BASELINE = "baseline"

# The gain of the last one: of 4, 4.5, 5, 5.5, 6, 7, 8 and 9 it has the highest accuracy on the last 10,000 training
# images after 300 epochs on the first 50,000, 0.873 (benchmarks/gain.py). The test images had no part in it.

METHODS: dict[str, tuple[str, tuple[Remedy, ...]]] = {
    BASELINE: ("no remedy", ()),
    "1a": ("weight increasing", (WeightIncreasing(1.0),)),
    "1b": ("weight increasing", (WeightIncreasing(10.0),)),
    "2": ("better activation", (BetterActivation("ReLU"),)),
    "3": ("better optimizer", (BetterOptimizer("Adam", 0.001),)),
    "4a": ("normalize inside network", (NormalizeInside("batch-norm"),)),
    "4a-affine": ("normalize inside network", (NormalizeInside("batch-norm", learned=True),)),
    "4b": ("normalize inside network", (NormalizeInside("standardize"),)),
    "5": ("skip connection", (SkipConnection(((1, 3), (4, 7))),)),
    "6": ("train some layers", (TrainSomeLayers((2, 2, 2, 1)),)),
    "centred-critical": ("centred critical weights, not published", (CentredCriticalInit(gain=7.0),)),
}
PUBLISHED_METHODS = tuple(name for name in METHODS if name != "centred-critical")


def baseline(
    *,
    hidden: tuple[int, ...] = (128,) * 7,
    activation: str = "Sigmoid",
    activation_options: dict[str, Any] | None = None,
    init_std: float | None = 0.05,
    optimizer: Optimizer = Optimizer("SGD", 0.01),  # noqa: B008  (frozen)
    data: "str | Path | DataSet" = "fashion-mnist",
    **others: Any,
) -> Recipe:
    """The published baseline, or with other numbers: 7 × 128 sigmoid, N(0, 0.05²), SGD 0.01, which never learns.

    data    a name, a folder or a file, as `load_data` takes them, or a `DataSet`; the network is made to fit it

    `others` are the fields of `Recipe`: epochs, batch, seed, samples, …

    >>> str(baseline().network)
    '7 x 128 sigmoid'
    """
    fit: dict[str, int] = {}
    if data != "fashion-mnist":  # which need not be fetched to write a recipe of it
        found = load_data(data)
        data, fit = found.name, {"inputs": found.inputs, "classes": found.classes}
    network = MLP(
        hidden=hidden, activation=activation, options={} if activation_options is None else activation_options, **fit
    )
    return Recipe(network=network, init_std=init_std, optimizer=optimizer, data=str(data), **others)


def method(name: str, **others: Any) -> Recipe:
    """The recipe of a method by its id (`METHODS`); all are published but `centred-critical`."""
    if not isinstance(name, str):
        raise RecipeError(f"a method is named by a text such as '5', not {in_brief(name)}")
    if name not in METHODS:
        guess = did_you_mean(name, METHODS) or f"; there are {', '.join(METHODS)}"
        raise RecipeError(f"no method is called '{name}'{guess}")
    return baseline(**others).with_remedies(*METHODS[name][1])


def _methods_of(remedies: tuple[Remedy, ...]) -> list[str]:
    """The methods that these remedies are, one after the other; empty where they are not."""
    for name, (_, own) in METHODS.items():
        if remedies == own:
            return [name]
    for name, (_, own) in METHODS.items():
        if own and remedies[: len(own)] == own and (rest := _methods_of(remedies[len(own) :])):
            return [name, *rest]
    return []


@cache
def _plain() -> Recipe:
    return baseline()


def label(recipe: Recipe) -> str:
    """The id of the method that this recipe is, at any length and seed, or of several, `2+5`; or what it is made of.

    Another batch, or fewer images, is named behind it.

    >>> label(method("4a", epochs=3, seed=7))
    '4a'
    """
    return _label(recipe.model_copy(update={"seed": 0, "epochs": 1}))


@lru_cache(maxsize=16_384)
def _label(recipe: Recipe) -> str:
    plain = _plain()
    plain_network = MLP()
    less = "" if recipe.samples is None else f", {recipe.samples} images"
    less += "" if recipe.data == plain.data else f", {recipe.data.partition('@')[0]}"
    less += "" if recipe.held_out is None else f", {recipe.held_out} held out"
    less += "" if recipe.batch == plain.batch else f", batch {recipe.batch}"
    network: Any = recipe.network
    if isinstance(network, MLP):  # of another data set
        network = replace(network, inputs=plain_network.inputs, classes=plain_network.classes)
    alike = (network, recipe.init_std, recipe.optimizer) == (plain.network, plain.init_std, plain.optimizer)
    if alike and (methods := _methods_of(recipe.remedies)):
        return "+".join(methods) + less
    optimizer = f"{recipe.optimizer.name} {recipe.optimizer.lr:g}"
    plan = ", ".join(filter(None, (str(recipe.network), _init(recipe), optimizer)))
    return " + ".join([plan, *map(str, recipe.remedies)]) + less


def changes(recipe: Recipe) -> str:
    """What it has that the published baseline has not, its shape, data and length aside.

    >>> changes(method("5")), changes(baseline(optimizer=Optimizer("SGD", 0.1))), changes(baseline(hidden=(8,)))
    ('skips 1→3, 4→7', 'SGD, lr=0.1', 'nothing')
    """
    plain, network, own = _plain(), recipe.network, list[str]()
    if isinstance(network, MLP) and network.activation != MLP().activation:
        own.append(network.activation.lower())
    if recipe.init_std != plain.init_std and _init(recipe):
        own.append(_init(recipe))
    if recipe.optimizer != plain.optimizer:
        own.append(f"{recipe.optimizer.name}, {recipe.optimizer}")
    return " + ".join([*own, *map(str, recipe.remedies)]) or "nothing"


def _init(recipe: Recipe) -> str:
    """Nothing where a remedy draws the weights."""
    if any(remedy.replaces == "init" for remedy in recipe.remedies):
        return ""
    return "default init" if recipe.init_std is None else f"N(0, {recipe.init_std:g}²)"
