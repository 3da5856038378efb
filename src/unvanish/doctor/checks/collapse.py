"""UV002 forward collapse

What it measures: how much of the last hidden signal tells one input from another, √mean (h − h̄)² over √mean h²,
h̄ the mean over the batch.
Why it is bad: where all inputs look the same, no layer behind can tell them apart, whatever it learns.
Known problems: a loss of contrast is a consequence where the gradient vanishes too: both come from layers that
shrink what passes. Only a collapse within one layer is a cause of its own. A batch of samples that are alike looks
like a collapse.
Remedies: smaller biases, critical initial weights, normalisation, skip connections.
References: Poole et al. 2016 (the ordered phase, c* = 1); Dong, Cordonnier & Loukas 2021 (attention without skips).
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from unvanish.core.check import Check, Examination
from unvanish.core.finding import Finding

CONTRAST = 0.03
NO_TRIAL = 0.003
SUDDEN = 1e-4  # in one layer: no product of a gentle factor a layer, but something that throws the inputs away


@final
@dataclass(frozen=True)
class Collapse(Check):
    code = "UV002"
    kind = "collapse"
    title = "forward collapse"
    explains = ("lr_low",)
    remedies = (
        "smaller initial biases",
        "critical initial weights",
        "normalisation behind each layer (NormalizeInside)",
        "skip connections (SkipConnection)",
    )

    def examine(self, seen: Examination) -> Finding | None:
        reading = seen.reading
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            contrast_L = reading.spread_L / reading.activation_rms_L
        hidden = range(max(1, len(reading) - 1))  # what the last layer gives may be all offset
        known = [index for index in hidden if len(reading) and np.isfinite(contrast_L[index])]
        if seen.learns or seen.learns_at or not known:
            return None
        last = contrast_L[known[-1]]
        if last >= (CONTRAST if seen.learns is False else NO_TRIAL):
            return None
        flat = [index for index in known if contrast_L[index] < 2 * CONTRAST]
        at = flat[0]
        before = max((contrast_L[index] for index in known if index < at), default=1.0)
        sudden = contrast_L[at] < SUDDEN * before
        return self.finding(
            f"behind layer {reading.layers[at]} all inputs have become one: {contrast_L[known[-1]]:.1e} of the signal "
            "differs from input to input" + (", and it happens at once" if sudden else ""),
            layers=[reading.layers[index] for index in flat],
            certainty=0.45 if seen.learnable is False and not sudden else _certainty(seen, sudden),
            explains=("vanishing", "lr_low", "dead") if sudden else self.explains,
            contrast=last,
        )


def _certainty(seen: Examination, sudden: bool) -> float:
    if seen.learns is None:
        return 0.6
    return 0.97 if sudden else 0.85
