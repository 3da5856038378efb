"""UV007 inputs are not scaled

What it measures: mean, standard deviation and RMS of the inputs; and whether the same network learns once they are
brought to mean 0 and standard deviation 1.
Why it is bad: everything behind the first layer is scaled or shifted by it: activations saturate or die, and no
learning rate suits the first layer and the others.
Where the loss has derivatives by the inputs, their scale weighs its terms: what is far from the order of 1 is told,
also where the loss falls.
Limitations: a network that normalises its inputs itself does not mind, and is not flagged.
Prescriptions: subtract the mean and divide by the standard deviation of the training set.
References: LeCun et al. 1998, "Efficient BackProp", section 4.3; Wang, Teng & Perdikaris 2021, "Understanding and
Mitigating Gradient Flow Pathologies in Physics-Informed Neural Networks", section 2.
"""

import math
from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import Check, Examination, Inputs, Standardised
from unvanish.diagnosis.fixes import rounded
from unvanish.remedies import InputStandardisation

LEAST, MOST = 0.03, 8.0  # RMS: pixels from 0 to 1 have 0.3 to 0.5, standardised inputs 1, pixels from 0 to 255 about 90


@final
@dataclass(frozen=True)
class InputScale(Check):
    code = "UV007"
    kind = "input_scale"
    title = "inputs are not scaled"
    explains = ("lr_high", "lr_low", "dead", "saturated", "vanishing", "collapse", "exploding", "non_finite")
    prescriptions = (
        InputStandardisation(0.0, 1.0),
        "mean 0 and standard deviation 1 in the data set, by those of the training data",
        "normalisation of the inputs inside the network (BatchNorm1d first)",
    )

    def examine(self, seen: Examination) -> Finding | None:
        if seen.inputs is None or not unusual(seen.inputs):
            return None
        standardised = seen.standardised or Standardised()
        if seen.differentiates and seen.learned and not standardised.helps:
            return self._of_an_equation(seen.inputs)
        if not standardised.helps and seen.learned is not None:
            return None
        return self.finding(
            f"the inputs have mean {seen.inputs.mean:.3g} and standard deviation {seen.inputs.std:.3g}"
            + (
                f"; with mean 0 and standard deviation 1 {_what_then(seen, standardised)}" if standardised.helps else ""
            ),
            certainty=0.4 if not standardised.helps else 0.6 if seen.learned else 0.95,
            prescriptions=(_for(seen.inputs), *self.prescriptions[1:]),
            mean=seen.inputs.mean,
            std=seen.inputs.std,
        )

    def _of_an_equation(self, inputs: Inputs) -> Finding:
        return self.finding(
            f"the inputs have mean {inputs.mean:.3g} and standard deviation {inputs.std:.3g}, and the loss has "
            "derivatives by them: over a domain of size L the second is 1/L² of what it is over one of size 1, so a "
            "loss near 0 says little about the equation",
            certainty=0.6,
            prescriptions=("write the equation in x/L, so that its domain is of the order of 1",),
            mean=inputs.mean,
            std=inputs.std,
        )


def _for(inputs: Inputs) -> InputStandardisation:
    return InputStandardisation(rounded(inputs.mean), rounded(inputs.std) or 1.0)


def unusual(inputs: Inputs) -> bool:
    """Far from the order of 1, or an offset that dwarfs what differs."""
    if not math.isfinite(inputs.rms):  # another fault, that UV006 tells
        return False
    return not LEAST < inputs.rms < MOST or abs(inputs.mean) > MOST * inputs.std


def _what_then(seen: Examination, standardised: Standardised) -> str:
    """Only what was seen."""
    if standardised.learned:
        return "the same network learns" + (" twice as well" if seen.learned else "")
    if standardised.begins:
        return "the same network begins to learn, and does not diverge"
    return "its signals are normal, though it was not seen to learn"
