"""UV007 scale of the inputs

What it measures: mean, standard deviation and RMS of the inputs; and whether the same network learns once they are
brought to mean 0 and standard deviation 1.
Why it is bad: everything behind the first layer is scaled or shifted by it: activations saturate or die, and no
learning rate suits the first layer and the others.
Limitations: a network that normalises its inputs itself does not mind, and is not flagged.
Prescriptions: subtract the mean and divide by the standard deviation of the training set.
References: LeCun et al. 1998, "Efficient BackProp", section 4.3.
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import Check, Examination, Inputs, Standardised
from unvanish.diagnosis.fixes import scaled

LEAST, MOST = 0.03, 8.0  # RMS: pixels from 0 to 1 have 0.3 to 0.5, standardised inputs 1, pixels from 0 to 255 about 90


@final
@dataclass(frozen=True)
class InputScale(Check):
    code = "UV007"
    kind = "input_scale"
    title = "scale of the inputs"
    explains = ("lr_high", "lr_low", "dead", "saturated", "vanishing", "collapse", "exploding", "non_finite")
    prescriptions = (scaled(0.0, 1.0), "normalisation of the inputs inside the network (BatchNorm1d first)")

    def examine(self, seen: Examination) -> Finding | None:
        if seen.inputs is None or not unusual(seen.inputs):
            return None
        standardised = seen.standardised or Standardised()
        if not standardised.helps and seen.learned is not None:
            return None
        return self.finding(
            f"the inputs have mean {seen.inputs.mean:.3g} and standard deviation {seen.inputs.std:.3g}"
            + (
                f"; with mean 0 and standard deviation 1 {_what_then(seen, standardised)}" if standardised.helps else ""
            ),
            certainty=0.4 if not standardised.helps else 0.6 if seen.learned else 0.95,
            prescriptions=(scaled(seen.inputs.mean, seen.inputs.std or 1.0), *self.prescriptions[1:]),
            mean=seen.inputs.mean,
            std=seen.inputs.std,
        )


def unusual(inputs: Inputs) -> bool:
    """Far from the order of 1, or an offset that dwarfs what differs."""
    return not LEAST < inputs.rms < MOST or abs(inputs.mean) > MOST * inputs.std


def _what_then(seen: Examination, standardised: Standardised) -> str:
    """Only what was seen."""
    if standardised.learned:
        return "the same network learns" + (" twice as well" if seen.learned else "")
    if standardised.begins:
        return "the same network begins to learn, and does not diverge"
    return "what is wrong with its signals is gone, though it was not seen to learn"
