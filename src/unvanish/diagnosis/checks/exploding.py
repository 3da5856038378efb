"""UV003 exploding signal

What it measures: how many times larger the backward signal is at its largest than at the output, and the
activations than behind the first layer.
Why it is bad: a step that suits the last layers changes the first layers far too much, or the other way round; before
long something overflows.
Limitations: batch normalisation makes about 1.2 a layer without skips, harmless over 20 layers and not over 100.
Prescriptions: critical initial weights, skip connections around normalised branches, gradient clipping.
References: Bengio, Simard & Frasconi 1994; Poole et al. 2016 (the chaotic phase); Yang et al. 2019 (batch norm).
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Prescription
from unvanish.diagnosis.examination import Check, Examination
from unvanish.diagnosis.fixes import HE, RECURRENT
from unvanish.diagnosis.profile import (
    Passage,
    backward_growth,
    forward_growth,
    growth_over_time,
    saturating,
    skips_over,
)
from unvanish.remedies import CentredCriticalInit, GradientClipping, NormalizeInside, SkipConnection

LARGE = 1000.0  # as much as usable learning rates span, 1e-4 to 1e-1: none suits both ends
NOTABLE = 10.0  # where nothing else that was tried explains a failure
HUGE = 1e4  # beyond that span it is the cause even where some learning rate gets along with it
NO_TRIAL = 1e5  # batch norm of 60 layers without skips, which trains, comes to 1.2**60 = 6e4
BEYOND = 1e6  # a step that suits the last layer moves the first by more than its size: a trial learns for a while only


@final
@dataclass(frozen=True)
class Exploding(Check):
    code = "UV003"
    kind = "exploding"
    title = "exploding signal"
    needs = ("backward_norm", "activation_rms")
    explains = ("lr_high", "lr_low", "non_finite", "dead", "collapse", "vanishing")
    prescriptions = (
        HE,
        NormalizeInside("batch-norm", learned=True),
        GradientClipping(),
    )

    def examine(self, seen: Examination) -> Finding | None:
        backward, forward = backward_growth(seen.table), forward_growth(seen.table)
        over_time = growth_over_time(seen.table)
        worst = max((backward, forward, over_time), key=lambda passage: passage.factor)
        if worst.factor < _limit(seen):
            return None
        if worst is backward:
            what = f"the backward signal grows by a factor of {worst.factor:.3g} on its way to layer {worst.at}"
        elif worst is forward:
            what = f"the activations grow by a factor of {worst.factor:.3g} from the first layer to {worst.at}"
        else:
            factor = f"{worst.factor:.3g}"
            what = f"over the time steps of {worst.layers[0]} the backward signal grows by a factor of {factor}"
        return self.finding(
            what,
            layers=worst.layers,
            prescriptions=self._for(seen, over_time),
            certainty=_certainty(seen, worst.factor),
            backward_growth=backward.factor,
            forward_growth=forward.factor,
        )

    def _for(self, seen: Examination, over_time: Passage) -> tuple[Prescription, ...]:
        if over_time.factor > NOTABLE:
            return RECURRENT, GradientClipping()
        pairs = skips_over(seen.table)
        first = (CentredCriticalInit(),) if saturating(seen.table) else ()
        return (*first, *self.prescriptions, *((SkipConnection(pairs),) if pairs else ()))


def _limit(seen: Examination) -> float:
    if seen.learned:
        return BEYOND
    if seen.learned is None:
        return NO_TRIAL
    if seen.fails_for_sure:
        return NOTABLE
    return HUGE if seen.learns_at else LARGE


def _certainty(seen: Examination, factor: float) -> float:
    if factor < LARGE:
        return 0.56
    if seen.learned is not False:
        return 0.6
    return 0.95 if factor >= HUGE else 0.8
