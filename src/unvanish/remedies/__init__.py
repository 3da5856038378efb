"""The remedies. A new one is a file here and a line in `ALL`."""

from unvanish.core.remedy import Remedy
from unvanish.remedies.better_activation import BetterActivation
from unvanish.remedies.better_optimizer import BetterOptimizer
from unvanish.remedies.centred_critical_init import CentredCriticalInit
from unvanish.remedies.class_weights import ClassWeights
from unvanish.remedies.critical_init import CriticalInit
from unvanish.remedies.fixup_init import FixupInit
from unvanish.remedies.gaussian_init import GaussianInit
from unvanish.remedies.gradient_clipping import GradientClipping
from unvanish.remedies.gradual_unfreezing import GradualUnfreezing
from unvanish.remedies.he_init import HeInit
from unvanish.remedies.highway_gates import HighwayGates
from unvanish.remedies.input_standardisation import InputStandardisation
from unvanish.remedies.larger_epsilon import LargerEpsilon
from unvanish.remedies.learning_rate import LearningRate
from unvanish.remedies.lsuv_init import LSUVInit
from unvanish.remedies.muon import Muon
from unvanish.remedies.normalize_inside import NormalizeInside
from unvanish.remedies.normalized_backward import NormalizedBackward
from unvanish.remedies.orthogonal_init import OrthogonalInit
from unvanish.remedies.rezero import ReZero
from unvanish.remedies.skip_connection import SkipConnection
from unvanish.remedies.skip_every_block import SkipEveryBlock
from unvanish.remedies.target_standardisation import TargetStandardisation
from unvanish.remedies.train_some_layers import TrainSomeLayers
from unvanish.remedies.warm_up import WarmUp
from unvanish.remedies.weight_increasing import WeightIncreasing
from unvanish.remedies.weight_norm import WeightNorm
from unvanish.remedies.without_decay import WithoutDecay
from unvanish.remedies.without_dropout import WithoutDropout
from unvanish.remedies.without_output_activation import WithoutOutputActivation
from unvanish.remedies.xavier_init import XavierInit

# first the six of the study, then more initial weights, architecture, steps, and what single causes want
ALL: tuple[type[Remedy], ...] = (
    WeightIncreasing,
    BetterActivation,
    BetterOptimizer,
    NormalizeInside,
    SkipConnection,
    TrainSomeLayers,
    CentredCriticalInit,
    CriticalInit,
    HeInit,
    XavierInit,
    OrthogonalInit,
    GaussianInit,
    LSUVInit,
    FixupInit,
    WeightNorm,
    SkipEveryBlock,
    ReZero,
    HighwayGates,
    NormalizedBackward,
    Muon,
    LearningRate,
    WarmUp,
    GradientClipping,
    LargerEpsilon,
    WithoutDecay,
    WithoutDropout,
    WithoutOutputActivation,
    InputStandardisation,
    TargetStandardisation,
    ClassWeights,
    GradualUnfreezing,
)
