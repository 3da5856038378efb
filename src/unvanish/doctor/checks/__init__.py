"""The checks, one a file. `ALL` is what `check`, `watch` and `unvanish rule` know; a new one is one line here."""

from unvanish.core.check import Check
from unvanish.doctor.checks.broken_graph import BrokenGraph
from unvanish.doctor.checks.collapse import Collapse
from unvanish.doctor.checks.dead import Dead
from unvanish.doctor.checks.exploding import Exploding
from unvanish.doctor.checks.input_scale import InputScale
from unvanish.doctor.checks.lr_high import LearningRateHigh
from unvanish.doctor.checks.lr_low import LearningRateLow
from unvanish.doctor.checks.non_finite import NonFinite
from unvanish.doctor.checks.saturated import Saturated
from unvanish.doctor.checks.symmetric import Symmetric
from unvanish.doctor.checks.vanishing import Vanishing

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
)
