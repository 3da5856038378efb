"""See where the gradient dies in a deep network, learn why, fix it, and prove that the fix worked.

Everything here is imported when it is first used, so that `import unvanish` costs next to nothing.
"""

import warnings
from importlib import import_module
from typing import Any

_HOMES = {
    "core.curve": ("Epoch", "Outcome"),
    "core.errors": (
        "ClaimLostError",
        "DamagedError",
        "DataError",
        "NothingToDo",
        "OutputError",
        "RecipeError",
        "StoreError",
        "UnvanishError",
    ),
    "core.finding": ("Finding", "Fix", "Prescription"),
    "core.init": ("Init",),
    "core.optimizer": ("Optimizer",),
    "core.recipe": ("Built", "Network", "Recipe"),
    "core.remedy": ("Remedy",),
    "core.setup": ("Setup", "Stage"),
    "core.table": ("Table",),
    "core.values": ("validated",),
    "data.images": ("DataSet",),
    "data.known": ("load_data",),
    "diagnosis.check": ("assert_healthy", "check"),
    "diagnosis.diagnosis": ("Diagnosis", "Failing"),
    "diagnosis.examination": ("Check", "Examination"),
    "diagnosis.range_test": ("RangeTest", "learning_rate_range_test"),
    "diagnosis.recorded": ("diagnose_run",),
    "diagnosis.repair.result": ("Repair",),
    "diagnosis.repair.run": ("repair",),
    "diagnosis.watch": ("Watch", "Writer", "watch"),
    "integrations.keras": ("KerasWatch",),
    "integrations.lightning": ("LightningWatch",),
    "integrations.mlflow": ("MLflowWriter",),
    "integrations.tensorboard": ("TensorBoardWriter",),
    "integrations.transformers": ("TransformersWatch",),
    "integrations.wandb": ("WandbWriter",),
    "measure.quantity": ("Quantity", "Signals"),
    "measure.series": ("Series",),
    "models.mlp": ("MLP",),
    "modules.replace": ("replaced",),
    "modules.residual": ("Residual",),
    "remedies": (
        "BetterActivation",
        "BetterOptimizer",
        "CentredCriticalInit",
        "ClassWeights",
        "CriticalInit",
        "FixupInit",
        "GaussianInit",
        "GradientClipping",
        "GradualUnfreezing",
        "HeInit",
        "HighwayGates",
        "InputStandardisation",
        "LSUVInit",
        "LargerEpsilon",
        "LearningRate",
        "Muon",
        "NormalizeInside",
        "NormalizedBackward",
        "OrthogonalInit",
        "ReZero",
        "SkipConnection",
        "SkipEveryBlock",
        "TargetStandardisation",
        "TrainSomeLayers",
        "WarmUp",
        "WeightIncreasing",
        "WeightNorm",
        "WithoutDecay",
        "WithoutDropout",
        "WithoutOutputActivation",
        "XavierInit",
    ),
    "store.events": ("Event",),
    "store.record": ("Record",),
    "store.store": ("Store",),
    "study.conduct": ("run_study",),
    "study.plan.study": ("Study",),
    "study.methods": ("METHODS", "baseline", "method"),
    "study.run": ("run",),
}
_EXTRAS = {
    "KerasWatch": "keras",
    "LightningWatch": "lightning",
    "TransformersWatch": "transformers",
    "MLflowWriter": "mlflow",
    "TensorBoardWriter": "tensorboard",
    "WandbWriter": "wandb",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]  (the stub beside this file lists them)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("unvanish.core.machine").own_version()
    if name == "Sick":
        warnings.warn("unvanish.Sick is called Failing now", DeprecationWarning, stacklevel=2)
        name = "Failing"
    if name == "initialised":
        warnings.warn("unvanish.initialised(setup) is setup.initialised() now", DeprecationWarning, stacklevel=2)
        return lambda setup: setup.initialised()
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
    return sorted({*_HOME, "__version__", *(remedy.__name__ for remedy in import_module("unvanish.remedies").ALL)})
