"""UV005 saturation

What it measures: of a bounded activation's values, how many lie where its slope is under a twentieth of the steepest.
Why it is bad: each such value stops the gradient of its unit for its input, and the output hardly depends on the
weights.
Limitations: gates are saturated on purpose; a trained classifier's last layers may be.
Prescriptions: smaller first weights, inputs of mean 0 and standard deviation 1, normalisation before the activation.
References: Glorot & Bengio 2010, section 3; LeCun et al. 1998, "Efficient BackProp", section 4.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import Check, Examination
from unvanish.diagnosis.fixes import NARROWER
from unvanish.remedies import BetterActivation, CentredCriticalInit, NormalizeInside

MOST = 0.65  # P(|z| > 4.36) of a sigmoid's z from N(0, 10²)
NO_TRIAL = 0.9  # from N(0, 35²)
THROUGHOUT = 0.85  # from N(0, 23²), in every layer: then a trial learns for a while only


@final
@dataclass(frozen=True)
class Saturated(Check):
    code = "UV005"
    kind = "saturated"
    title = "saturation"
    needs = ("saturated", "dead")
    explains = ("vanishing", "collapse", "exploding", "lr_low", "lr_high")
    prescriptions = (
        CentredCriticalInit(),
        NARROWER,
        NormalizeInside("batch-norm", learned=True),
        BetterActivation("ReLU"),
    )

    def examine(self, seen: Examination) -> Finding | None:
        saturated_L = np.nan_to_num(seen.of("saturated"), nan=0.0)
        worst = saturated_L.max(initial=0.0)
        if seen.learned and (seen.had_learned or not np.nanmin(seen.of("saturated"), initial=1.0) >= THROUGHOUT):
            return None
        if worst < (MOST if seen.learned is False else NO_TRIAL):
            return None
        layers = [name for name, share in zip(seen.table.layers, saturated_L, strict=True) if share >= MOST]
        return self.finding(
            f"{worst:.0%} of the activations of layer {seen.table.layers[int(np.argmax(saturated_L))]} are saturated: "
            "the slope of the activation function is nearly 0 there",
            layers=layers,
            certainty=0.9 if seen.learned is False else 0.6,
            saturated=worst,
        )
