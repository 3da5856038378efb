"""UV003 exploding signal

What it measures: how many times larger the backward signal is at its largest than at the output, and the
activations than behind the first layer.
Why it is bad: a step that suits the last layers throws the first ones about, or the other way round; before
long something overflows.
Known problems: batch normalisation makes about 1.2 a layer without skips, harmless over 20 layers and not over 100.
Remedies: critical initial weights, skip connections around normalised branches, gradient clipping.
References: Bengio, Simard & Frasconi 1994; Poole et al. 2016 (the chaotic phase); Yang et al. 2019 (batch norm).
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.check import Check, Examination
from unvanish.core.finding import Finding
from unvanish.doctor.profile import backward_growth, forward_growth, growth_over_time

LARGE = 1000.0
HUGE = 1e4  # so much that it is the cause even where some learning rate gets along with it
NO_TRIAL = 1e5
BEYOND = 1e6  # so much that it is an illness even where the trial learns something for a while


@final
@dataclass(frozen=True)
class Exploding(Check):
    code = "UV003"
    kind = "exploding"
    title = "exploding signal"
    explains = ("lr_high", "lr_low", "non_finite", "dead", "collapse", "vanishing")
    remedies = (
        "critical initial weights (He for ReLU, σ_w = 1 for tanh)",
        "skip connections (SkipConnection), around normalised branches",
        "normalisation behind each layer (NormalizeInside), unless it is what grows",
        "gradient clipping (torch.nn.utils.clip_grad_norm_)",
    )

    def examine(self, seen: Examination) -> Finding | None:
        backward, forward = backward_growth(seen.reading), forward_growth(seen.reading)
        over_time = growth_over_time(seen.reading)
        worst = max((backward, forward, over_time), key=lambda passage: passage.factor)
        if worst.factor < _limit(seen):
            return None
        if worst is backward:
            what = f"the backward signal grows {_times(worst.factor)} on its way to the first layers"
        elif worst is forward:
            what = f"the activations grow {_times(worst.factor)} from the first layer to the last"
        else:
            what = f"over the uses of {worst.layers[0]} in one pass the backward signal grows {_times(worst.factor)}"
        return self.finding(
            what,
            layers=worst.layers if worst is over_time else backward.layers or forward.layers,
            certainty=0.95 if seen.learns is False and worst.factor >= HUGE else 0.8 if seen.learns is False else 0.6,
            backward_growth=backward.factor,
            forward_growth=forward.factor,
        )


def _limit(seen: Examination) -> float:
    if seen.learns:
        return BEYOND
    if seen.learns is None:
        return NO_TRIAL
    return HUGE if seen.learns_at else LARGE


def _times(factor: float) -> str:
    return f"{factor:,.0f} times" if factor < 1e6 else f"{factor:.0e} times"
