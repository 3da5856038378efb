"""The checks, one a file. `ALL` is what `check`, `watch` and `unvanish rule` know; a new one is one line here."""

from unvanish.diagnosis.checks.batch_leak import BatchLeak
from unvanish.diagnosis.checks.broken_graph import BrokenGraph
from unvanish.diagnosis.checks.collapse import Collapse
from unvanish.diagnosis.checks.data_order import DataOrder
from unvanish.diagnosis.checks.dead import Dead
from unvanish.diagnosis.checks.eval_gap import EvalGap
from unvanish.diagnosis.checks.exploding import Exploding
from unvanish.diagnosis.checks.gradients_accumulate import GradientsAccumulate
from unvanish.diagnosis.checks.imbalance import Imbalance
from unvanish.diagnosis.checks.input_scale import InputScale
from unvanish.diagnosis.checks.labels import Labels
from unvanish.diagnosis.checks.lr_high import LearningRateHigh
from unvanish.diagnosis.checks.lr_low import LearningRateLow
from unvanish.diagnosis.checks.no_step import NoStep
from unvanish.diagnosis.checks.non_finite import NonFinite
from unvanish.diagnosis.checks.output_activation import OutputActivation
from unvanish.diagnosis.checks.precision import LowPrecision
from unvanish.diagnosis.checks.regularisation import Regularisation
from unvanish.diagnosis.checks.saturated import Saturated
from unvanish.diagnosis.checks.symmetric import Symmetric
from unvanish.diagnosis.checks.target_scale import TargetScale
from unvanish.diagnosis.checks.target_shape import TargetShape
from unvanish.diagnosis.checks.untrained import Untrained
from unvanish.diagnosis.checks.vanishing import Vanishing
from unvanish.diagnosis.examination import Check

ALL: tuple[Check, ...] = (
    Vanishing(),
    Collapse(),
    Exploding(),
    Dead(),
    Saturated(),
    Symmetric(),
    InputScale(),
    LearningRateHigh(),
    LearningRateLow(),
    BrokenGraph(),
    NonFinite(),
    OutputActivation(),
    TargetShape(),
    TargetScale(),
    Untrained(),
    BatchLeak(),
    EvalGap(),
    Imbalance(),
    DataOrder(),
    Labels(),
    Regularisation(),
    LowPrecision(),
    GradientsAccumulate(),
    NoStep(),
)
