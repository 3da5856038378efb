"""UV007 scale of the inputs

What it measures: mean, standard deviation and RMS of the inputs; and whether the same network learns once they are
brought to mean 0 and standard deviation 1.
Why it is bad: everything behind the first layer is scaled or shifted by it: activations saturate or die, and no
learning rate suits the first layer and the others.
Known problems: a network that normalises its inputs itself does not mind, and is not flagged.
Remedies: subtract the mean and divide by the standard deviation of the training set.
References: LeCun et al. 1998, "Efficient BackProp", section 4.3.
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.check import Check, Examination, Inputs
from unvanish.core.finding import Finding


@final
@dataclass(frozen=True)
class InputScale(Check):
    code = "UV007"
    kind = "input_scale"
    title = "scale of the inputs"
    explains = ("lr_high", "lr_low", "dead", "saturated", "vanishing", "collapse", "exploding", "non_finite")
    remedies = (
        "inputs of mean 0 and standard deviation 1",
        "normalisation of the inputs inside the network (BatchNorm1d first)",
    )

    def examine(self, seen: Examination) -> Finding | None:
        if seen.inputs is None or not unusual(seen.inputs):
            return None
        if not seen.standardised and seen.learns is not None:
            return None
        better = "learns" if not seen.learns else "learns twice as well"
        return self.finding(
            f"the inputs have mean {seen.inputs.mean:.3g} and standard deviation {seen.inputs.std:.3g}"
            + (f"; with mean 0 and standard deviation 1 the same network {better}" if seen.standardised else ""),
            certainty=0.4 if not seen.standardised else 0.6 if seen.learns else 0.95,
            mean=seen.inputs.mean,
            std=seen.inputs.std,
        )


def unusual(inputs: Inputs) -> bool:
    """Far from the order of 1, or an offset that dwarfs what differs."""
    return not 0.03 < inputs.rms < 8 or abs(inputs.mean) > 8 * inputs.std
