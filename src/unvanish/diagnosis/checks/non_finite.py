"""UV011 NaN or infinity

What it measures: the first module whose output, or the first weight whose value or gradient, has a NaN or an infinity.
Why it is bad: one of them spreads to every weight in one step.
Limitations: where the numbers grow layer by layer until they overflow, that growth is the cause, and named first.
Prescriptions: look at what the named module divides by, takes the root or the logarithm of; check the data.
References: IEEE 754; `torch.autograd.detect_anomaly` finds the operation inside a backward pass.
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix
from unvanish.diagnosis.examination import Check, Examination

IN_THE_DATA = (
    "take the samples with a NaN or an infinity out of the data, or fill in what is missing",
    "look where they come from: a division by a standard deviation of 0, a missing value in a table",
)


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
        Fix(
            "let PyTorch name the operation of the backward pass", "torch.autograd.set_detect_anomaly(True)", "by hand"
        ),
    )

    def examine(self, seen: Examination) -> Finding | None:
        origin = seen.origin
        if origin is None:
            return None
        where = origin.place
        if origin.operation:
            where = f"{origin.operation} in {where}"
        which = f", in batch {origin.batch} (the first is 0)" if origin.batch else ""
        has = "produces a gradient with a NaN or an infinity" if origin.backward else "has a NaN or an infinity"
        return self.finding(
            f"{where} {has}, {origin.when}{which}",
            layers=(origin.place,),
            certainty=0.6 if origin.overflow else 0.97,
            prescriptions=IN_THE_DATA if origin.place in ("the input", "the target") else self.prescriptions,
        )
