"""See where the gradient dies in a deep network, learn why, fix it, and prove that the fix worked.

Everything here is imported when it is first used, so that `import unvanish` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unvanish.core.errors import DataError, NothingToDo, RecipeError, StoreError, UnvanishError
    from unvanish.core.finding import Finding
    from unvanish.core.init import initialised
    from unvanish.core.optimizer import Optimizer
    from unvanish.core.recipe import Recipe
    from unvanish.core.record import Epoch, Outcome, Record, Series
    from unvanish.core.remedy import Remedy
    from unvanish.core.setup import Init, Setup, Stage
    from unvanish.doctor.check import assert_healthy, check
    from unvanish.doctor.diagnosis import Diagnosis, Sick
    from unvanish.doctor.loops.lightning import LightningWatch
    from unvanish.doctor.loops.transformers import TransformersWatch
    from unvanish.doctor.watch import Watch, watch
    from unvanish.doctor.writers.mlflow import MLflowWriter
    from unvanish.doctor.writers.tensorboard import TensorBoardWriter
    from unvanish.doctor.writers.wandb import WandbWriter
    from unvanish.models.mlp import MLP
    from unvanish.recipes import METHODS, baseline, method
    from unvanish.remedies import (
        BetterActivation,
        BetterOptimizer,
        NormalizeInside,
        SkipConnection,
        TrainSomeLayers,
        WeightIncreasing,
    )
    from unvanish.runner import run
    from unvanish.store.store import Store

_HOMES = {
    "core.errors": ("DataError", "NothingToDo", "RecipeError", "StoreError", "UnvanishError"),
    "core.finding": ("Finding",),
    "core.init": ("initialised",),
    "core.optimizer": ("Optimizer",),
    "core.recipe": ("Recipe",),
    "core.record": ("Epoch", "Outcome", "Record", "Series"),
    "core.remedy": ("Remedy",),
    "core.setup": ("Init", "Setup", "Stage"),
    "doctor.check": ("assert_healthy", "check"),
    "doctor.diagnosis": ("Diagnosis", "Sick"),
    "doctor.loops.lightning": ("LightningWatch",),
    "doctor.loops.transformers": ("TransformersWatch",),
    "doctor.watch": ("Watch", "watch"),
    "doctor.writers.mlflow": ("MLflowWriter",),
    "doctor.writers.tensorboard": ("TensorBoardWriter",),
    "doctor.writers.wandb": ("WandbWriter",),
    "models.mlp": ("MLP",),
    "recipes": ("METHODS", "baseline", "method"),
    "runner": ("run",),
    "store.store": ("Store",),
}
_EXTRAS = {
    "LightningWatch": "lightning",
    "TransformersWatch": "transformers",
    "MLflowWriter": "mlflow",
    "TensorBoardWriter": "tensorboard",
    "WandbWriter": "wandb",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        try:
            return getattr(import_module(f"unvanish.{_HOME[name]}"), name)
        except ModuleNotFoundError as error:
            library = _EXTRAS.get(name)
            if library is None:
                raise
            raise ImportError(f"unvanish.{name} needs {error.name}: pip install 'unvanish[{library}]'") from error
    if name[:1].isupper():  # a remedy: whatever stands in its ALL, so that a new one needs no line here
        for remedy in import_module("unvanish.remedies").ALL:
            if remedy.__name__ == name:
                return remedy
    raise AttributeError(f"module 'unvanish' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*_HOME, *(remedy.__name__ for remedy in import_module("unvanish.remedies").ALL)])


__all__ = [
    "METHODS",
    "MLP",
    "BetterActivation",
    "BetterOptimizer",
    "DataError",
    "Diagnosis",
    "Epoch",
    "Finding",
    "Init",
    "LightningWatch",
    "MLflowWriter",
    "NormalizeInside",
    "NothingToDo",
    "Optimizer",
    "Outcome",
    "Recipe",
    "RecipeError",
    "Record",
    "Remedy",
    "Series",
    "Setup",
    "Sick",
    "SkipConnection",
    "Stage",
    "Store",
    "StoreError",
    "TensorBoardWriter",
    "TrainSomeLayers",
    "TransformersWatch",
    "UnvanishError",
    "WandbWriter",
    "Watch",
    "WeightIncreasing",
    "assert_healthy",
    "baseline",
    "check",
    "initialised",
    "method",
    "run",
    "watch",
]
