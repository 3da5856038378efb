"""Whatever a public call is given, it works or says in a sentence what it has to be: one hostile value at a time."""

import dataclasses
import inspect
import math
import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import unvanish as uv
from unvanish.core.remedy import Remedy


class WithoutRepr:
    def __repr__(self) -> str:
        raise RuntimeError("it has none")


FEW = [None, -1, 10**400, math.nan, "", WithoutRepr(), nn.Linear, torch.tensor(math.nan)]
MANY = [
    *FEW, 5, 0, 10**12, 1.5, math.inf, -math.inf, True, "x", "\x00", "a" * 300, b"\xff", [], {}, (), object(),
    nn.Linear(2, 2), lambda *_a, **_k: None, torch.zeros(0), int, "\udcff", "/proc/nothing", "../../../../proc/x",
]  # fmt: skip


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def pairs(count: int = 9) -> list[Any]:
    return [(torch.randn(32, 4), torch.randint(0, 3, (32,))) for _ in range(count)]


def trainable(**more: Any) -> dict[str, Any]:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return {"model": model, "batches": pairs(), "loss_fn": functional.cross_entropy, "optimizer": optimizer, **more}


def of_a_setup() -> uv.Setup:
    model = net()
    return uv.Setup.like(model, torch.optim.SGD(model.parameters(), 0.1), functional.cross_entropy, torch.randn(4, 4))


def small() -> uv.Recipe:
    return uv.baseline(samples=256, hidden=(8, 8), epochs=1)


CALLS: dict[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]]]] = {
    "check": (uv.check, lambda: trainable(steps=5, seed=0)),
    "repair": (uv.repair, lambda: trainable(steps=2, seed=0, batches=pairs(4), progress=None)),
    "repair within a time": (uv.repair, lambda: trainable(budget_s=0.01, batches=pairs(4))),
    "range test": (uv.learning_rate_range_test, lambda: trainable(steps=3, seed=0)),
    "run": (
        uv.run,
        lambda: {"what": small(), "epochs": 1, "store": "t", "fresh": True, "device": "cpu", "measure_every": 1,
                 "progress": False, "on_epoch": None},
    ),
    "run of a setup": (
        uv.run,
        lambda: {"what": of_a_setup(), "batches": pairs(2), "epochs": 1, "held_out": pairs(1), "on_step": None,
                 "name": "n", "fresh": True, "seed": 0, "store": "u", "measure_every": 2, "steps": None},
    ),
    "baseline": (uv.baseline, lambda: {"hidden": (8,), "samples": 256, "epochs": 1, "seed": 1, "batch": 32,
                                       "init_std": 0.1, "activation": "ReLU", "activation_options": None}),
    "method": (uv.method, lambda: {"name": "5", "epochs": 1, "seed": 1}),
    "Setup.like": (uv.Setup.like, lambda: {key: value for key, value in trainable().items() if key != "batches"}
                   | {"example": torch.randn(4, 4)}),
    "watch": (uv.watch, lambda: {"model": net(), "optimizer": None, "every": None}),
    "Store.reader": (uv.Store.reader, lambda: {"where": "s"}),
}  # fmt: skip
CALLS |= {
    name: (value, lambda value=value: {one.name: getattr(value(), one.name) for one in dataclasses.fields(value)})
    for name in dir(uv)
    if inspect.isclass(value := getattr(uv, name)) and issubclass(value, Remedy) and not inspect.isabstract(value)
}


def refused_or_done(name: str, values: list[Any]) -> list[str]:
    """What raised anything but an `UnvanishError`."""
    function, arguments = CALLS[name]
    raw = []
    for argument in arguments():
        for value in values:
            try:
                function(**(arguments() | {argument: value}))
            except uv.UnvanishError:  # a sentence
                continue
            except Exception as error:
                raw.append(f"{name}({argument}={type(value).__name__}): {type(error).__name__}: {error}")
    return raw


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the calls warn of is not asked here
        yield


@pytest.mark.parametrize("name", CALLS)
def test_a_public_call_takes_an_argument_or_says_what_it_has_to_be(name):
    assert refused_or_done(name, FEW) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_public_call_takes_any_argument_or_says_what_it_has_to_be(name):
    assert refused_or_done(name, MANY) == []


@pytest.mark.slow
def test_two_hostile_arguments_at_once():
    raw = []
    for seed in range(2400):
        dice = random.Random(seed)
        function, arguments = CALLS[dice.choice(sorted(CALLS))]
        given = arguments()
        names = dice.sample(sorted(given), min(2, len(given)))
        try:
            function(**(given | {name: dice.choice(MANY) for name in names}))
        except uv.UnvanishError:
            continue
        except Exception as error:
            raw.append(f"seed {seed}, {function.__name__}({names}): {type(error).__name__}: {error}")
    assert raw == []


def test_a_network_that_no_machine_can_hold_is_refused_at_once():
    with pytest.raises(uv.RecipeError, match="too large"):
        uv.baseline(hidden=(10**6, 10**6))
    with pytest.raises(uv.RecipeError, match="less than or equal to 1000000"):
        uv.baseline(hidden=(10**12,))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_recipe_holds_finite_numbers(number):
    """JSON has no others: they would come back as another recipe."""
    with pytest.raises(uv.RecipeError, match="finite number"):
        uv.baseline(init_std=number)
    with pytest.raises(uv.RecipeError):
        uv.BetterOptimizer("SGD", 0.1, {"momentum": number})
    with pytest.raises(uv.RecipeError):
        uv.WeightIncreasing(number)
