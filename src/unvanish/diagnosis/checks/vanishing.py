"""UV001 vanishing gradient

What it measures: the share of the backward signal ‖∂loss/∂z‖ that is left when it has passed the layers, as a ratio
between layers, so that it does not depend on the scale of the loss. For a weight that is used at every
time step, the same over time. A network that learns nevertheless, in the trial, is not failing.
Why it is bad: with a factor f per layer, the first of L layers learns f^(L−1) times slower than the last; below
about 1e-7 its updates are lost in the rounding of float32.
Limitations: a network may learn for a while with its last layers alone. A recurrent net whose answer depends
on the last steps only loses nothing by it, so over time we are sure only where it does not learn at any rate that was
tried. Frozen layers have no signal and are no finding.
Prescriptions: critical initialisation (centred, where units saturate), an activation that does not saturate,
normalisation, skip connections;
over time, gates (LSTM, GRU) or an orthogonal recurrent weight.
References: Hochreiter 1991; Bengio, Simard & Frasconi 1994; Glorot & Bengio 2010; He et al. 2015;
Schoenholz et al. 2017, "Deep Information Propagation", section 4.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from unvanish.core.finding import Finding, Prescription
from unvanish.diagnosis.examination import Check, Examination
from unvanish.diagnosis.fixes import HE, RECURRENT
from unvanish.diagnosis.profile import (
    backward_loss,
    dead_only_at_this_scale,
    left_over_time,
    listed,
    saturating,
    skips_over,
)
from unvanish.remedies import BetterActivation, CentredCriticalInit, NormalizeInside, SkipConnection

SMALL = 0.02  # where it fails at every rate: in the 20 steps of a trial the first layer moves less than the last in one
NOTABLE = 0.1  # where nothing else that was tried explains a failure
TINY = 1e-3  # where a trial fails as it is: as much as usable learning rates span, 1e-4 to 1e-1
LOST = 1e-6  # times a usual update ratio of 1e-2 it is below the rounding of float32 weights, 6e-8: no rate helps
NO_TRIAL = 1e-4  # measured: healthy ReLU networks of ten layers come down to 3e-4


@final
@dataclass(frozen=True)
class Vanishing(Check):
    code = "UV001"
    kind = "vanishing"
    title = "vanishing gradient"
    needs = ("backward_norm",)
    explains = ("collapse", "lr_low", "lr_high")
    prescriptions = (
        HE,
        BetterActivation("ReLU"),
        NormalizeInside("batch-norm", learned=True),
    )

    def examine(self, seen: Examination) -> Finding | None:
        if seen.learned or seen.learns_at:  # a network that learns, if only with larger steps, gets enough of a signal
            return None
        loss, over_time = backward_loss(seen.table), left_over_time(seen.table)
        if loss.layers and loss.factor < _limit(seen):
            return self.finding(
                f"the gradient shrinks {_by(loss.per_layer)} over {listed(loss.layers)};"
                f" {_share(loss.factor)} of its norm is left at layer {loss.at}",
                layers=loss.layers,
                certainty=_certainty(seen, loss.factor),
                prescriptions=self._for(seen),
                signal_left=loss.factor,
                factor_per_layer=loss.per_layer,
            )
        if seen.learned is False and over_time.layers and over_time.factor < SMALL:
            return self.finding(
                f"over the time steps of {over_time.layers[0]}, {_share(over_time.factor)} of the gradient "
                "reaches the first half: what depends on early inputs cannot be learned",
                layers=over_time.layers,
                certainty=0.45 if not seen.tried else 0.95 if over_time.factor < TINY else 0.7,
                prescriptions=(RECURRENT, "gates (LSTM, GRU)"),
                signal_left=over_time.factor,
            )
        return None

    def _for(self, seen: Examination) -> tuple[Prescription, ...]:
        pairs = skips_over(seen.table)
        skips = (SkipConnection(pairs),) if pairs else ()
        if saturating(seen.table):
            return (CentredCriticalInit(), *self.prescriptions[1:], *skips)
        rectified = not np.isnan(seen.of("dead")).all()
        apply = tuple(one for one in self.prescriptions if not (rectified and isinstance(one, BetterActivation)))
        return (*apply, *skips)


def _limit(seen: Examination) -> float:
    if seen.fails_for_sure:
        return NOTABLE
    if seen.fails_at_every_rate:
        return SMALL
    return NO_TRIAL if seen.learned is None else TINY


def _certainty(seen: Examination, left: float) -> float:
    if dead_only_at_this_scale(seen) or (seen.learnable is False and left > LOST):
        return 0.45  # others may wake it; or it is the data that nobody can learn from
    if left >= SMALL:
        return 0.55
    if seen.learned is None:
        return 0.7 if left < NO_TRIAL / 100 else 0.55
    if seen.fails_at_every_rate:
        return 0.95 if left < TINY else 0.8
    return 0.95 if left < LOST else 0.85


def _by(factor: float) -> str:
    return f"by a factor of {1 / factor:.3g} per layer" if factor else "to nothing"


def _share(left: float) -> str:
    return "nothing" if left == 0 else f"{left:.2g}"
