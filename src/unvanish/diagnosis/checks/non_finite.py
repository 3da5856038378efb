"""UV011 NaN or infinity

What it measures: the first module whose output, or the first weight whose value or gradient, has a NaN or an infinity.
Why it is bad: one of them spreads to every weight in one step.
Limitations: where the numbers grow layer by layer until they overflow, that growth is the cause, and named first.
Prescriptions: look at what the named module divides by, takes the root or the logarithm of; check the data.
References: IEEE 754; `torch.autograd.detect_anomaly` finds the operation inside a backward pass.
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import Check, Examination


@final
@dataclass(frozen=True)
class NonFinite(Check):
    code = "UV011"
    kind = "non_finite"
    title = "NaN or infinity"
    explains = ("vanishing", "collapse", "dead", "lr_low", "lr_high", "saturated")
    prescriptions = (
        "a small ε inside the logarithm, the root or the denominator of the named module",
        "inputs without NaN (check the data)",
        "torch.autograd.detect_anomaly, which names the operation",
    )

    def examine(self, seen: Examination) -> Finding | None:
        if seen.non_finite is None:
            return None
        return self.finding(
            f"{seen.non_finite} has a NaN or an infinity, {seen.when}",
            layers=(seen.non_finite,),
            certainty=0.97,
        )
