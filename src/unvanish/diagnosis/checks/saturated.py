"""UV005 saturation

What it measures: of a bounded activation's values, how many lie where its slope is under a twentieth of the steepest.
Why it is bad: each such value stops the gradient of its unit for its input, and the output hardly depends on the
weights.
Limitations: gates are saturated on purpose; a trained classifier's last layers may be.
Prescriptions: smaller initial weights, inputs of mean 0 and standard deviation 1, normalisation before the activation.
References: Glorot & Bengio 2010, section 3; LeCun et al. 1998, "Efficient BackProp", section 4.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from unvanish.core.finding import Finding
from unvanish.core.table import Array
from unvanish.diagnosis.examination import Check, Examination
from unvanish.diagnosis.fixes import NARROWER
from unvanish.remedies import BetterActivation, CentredCriticalInit, InputStandardisation, NormalizeInside

MOST = 0.65  # P(|z| > 4.36) of a sigmoid's z from N(0, 10²)
NO_TRIAL = 0.9  # from N(0, 35²)
THROUGHOUT = 0.85  # from N(0, 23²), in every layer: then a trial learns for a while only
SEVERAL = 2  # layers: the layers behind a single saturated one can learn from what it gives
UNSCALED = 5.0  # of an RMS that is 1 for standardised inputs


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
        if seen.learned and (seen.had_learned or not _throughout(seen.of("saturated"))):
            return None
        if worst < (MOST if seen.learned is False else NO_TRIAL):
            return None
        layers = [name for name, share in zip(seen.table.layers, saturated_L, strict=True) if share >= MOST]
        unscaled = seen.inputs is not None and seen.inputs.rms > UNSCALED
        its = f"; the inputs have an RMS of {seen.inputs.rms:.3g}" if unscaled and seen.inputs else ""
        return self.finding(
            f"{worst:.0%} of the activations of layer {seen.table.layers[int(np.argmax(saturated_L))]} are saturated: "
            f"the slope of the activation function is nearly 0 there{its}",
            layers=layers,
            prescriptions=(InputStandardisation(), *self.prescriptions) if unscaled else self.prescriptions,
            certainty=0.9 if seen.learned is False else 0.6,
            saturated=worst,
        )


def _throughout(saturated_L: Array) -> bool:
    bounded = saturated_L[~np.isnan(saturated_L)]
    return len(bounded) >= SEVERAL and bool((bounded >= THROUGHOUT).all())
