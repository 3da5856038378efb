"""UV005 saturation

What it measures: of a bounded activation's values, how many lie where its slope is under a twentieth of the steepest.
Why it is bad: each such value stops the gradient of its unit for its input, and the output hardly depends on the
weights.
Known problems: gates are saturated on purpose; a trained classifier's last layers may be.
Remedies: smaller first weights, inputs of mean 0 and standard deviation 1, normalisation before the activation.
References: Glorot & Bengio 2010, section 3; LeCun et al. 1998, "Efficient BackProp", section 4.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from unvanish.core.check import Check, Examination
from unvanish.core.finding import Finding

MOST = 0.65
NO_TRIAL = 0.9
THROUGHOUT = 0.85  # in every layer; then it is an illness even where the trial learns something for a while


@final
@dataclass(frozen=True)
class Saturated(Check):
    code = "UV005"
    kind = "saturated"
    title = "saturation"
    explains = ("vanishing", "collapse", "exploding", "lr_low", "lr_high")
    remedies = (
        "smaller first weights (σ_w = 1: std = 1/√fan_in)",
        "normalisation before the activation (NormalizeInside)",
        "ReLU (BetterActivation)",
    )

    def examine(self, seen: Examination) -> Finding | None:
        saturated_L = np.nan_to_num(seen.reading.saturated_L, nan=0.0)
        worst = saturated_L.max(initial=0.0)
        if seen.learns and (seen.trained or not np.nanmin(seen.reading.saturated_L, initial=1.0) >= THROUGHOUT):
            return None
        if worst < (MOST if seen.learns is False else NO_TRIAL):
            return None
        layers = [name for name, share in zip(seen.reading.layers, saturated_L, strict=True) if share >= MOST]
        return self.finding(
            f"{worst:.0%} of what layer {seen.reading.layers[int(np.argmax(saturated_L))]} gives lies in the flat ends "
            "of its activation",
            layers=layers,
            certainty=0.9 if seen.learns is False else 0.6,
            saturated=worst,
        )
