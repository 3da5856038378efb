"""The remedies. A new one is a file here and a line in `ALL`."""

from unvanish.core.remedy import Remedy
from unvanish.remedies.better_activation import BetterActivation
from unvanish.remedies.better_optimizer import BetterOptimizer
from unvanish.remedies.normalize_inside import NormalizeInside
from unvanish.remedies.skip_connection import SkipConnection
from unvanish.remedies.train_some_layers import TrainSomeLayers
from unvanish.remedies.weight_increasing import WeightIncreasing

ALL: tuple[type[Remedy], ...] = (
    WeightIncreasing,
    BetterActivation,
    BetterOptimizer,
    NormalizeInside,
    SkipConnection,
    TrainSomeLayers,
)
