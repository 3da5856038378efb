"""UV022 numeric precision

What it measures: of weights in half precision: whether the optimizer's eps is 0 in their data type, how much of the
gradient is 0 in it and not in float32, whether something overflows in it only, and how many weights a step leaves as
they were though their gradient is not 0.
Why it is bad: Adam divides by √v + eps: with v and eps 0 that is 0/0. What underflows or is rounded away is lost.
Limitations: read from the weights' data type: inside autocast weights are float32 and the gradients are the scaler's.
Prescriptions: float32 weights with torch.autocast and a GradScaler; eps=1e-4 for Adam in float16; bfloat16.
References: Micikevicius et al. 2018, "Mixed Precision Training", sections 3.1 and 3.2.
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix
from unvanish.diagnosis.evidence.precision import MOST, Precision
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination
from unvanish.diagnosis.fixes import OPTIMIZER_ANEW
from unvanish.remedies import LargerEpsilon

LOST = 0.9  # of the weights with a gradient

WIDER = Fix(
    "float32 weights (with torch.autocast and a GradScaler, where half precision has to be)",
    "model.float()\n"
    "wide = lambda x: x.float() if x.is_floating_point() else x\n"
    "model.register_forward_pre_hook(lambda _, inputs: tuple(map(wide, inputs)))\n"
    f"{OPTIMIZER_ANEW}",
)
LARGER = LargerEpsilon(1e-4)


@final
@dataclass(frozen=True)
class LowPrecision(Check):
    code = "UV022"
    kind = "precision"
    title = "numeric precision"
    explains = (*CONSEQUENCES, "non_finite", "labels", "regularisation", "imbalance")
    prescriptions = (WIDER, LARGER)

    def examine(self, seen: Examination) -> Finding | None:
        known = seen.precision
        if known is None or not known.dtype:
            return None
        if known.eps is not None:
            return self.finding(
                f"the optimizer's eps, {known.eps:g}, is 0 in {known.dtype}: where a gradient is 0 it divides 0 by 0",
                certainty=0.97 if not seen.learned else 0.4,
                prescriptions=(LARGER, WIDER),
                eps=known.eps,
            )
        if seen.learned:
            return None
        return self._lost(known)

    def _lost(self, known: Precision) -> Finding | None:
        if known.overflow:
            return self.finding(
                f"something is infinite in {known.dtype} and nothing in float32",
                certainty=0.95,
                prescriptions=(WIDER,),
            )
        if known.underflow >= MOST:
            return self.finding(
                f"{known.underflow:.0%} of the gradient that float32 has is 0 in {known.dtype}",
                certainty=0.9,
                prescriptions=(WIDER,),
                underflow=known.underflow,
            )
        if known.lost >= LOST:
            return self.finding(
                f"a step leaves {known.lost:.0%} of the weights that have a gradient as they were: their change is "
                f"lost in the rounding of {known.dtype}",
                certainty=0.9,
                prescriptions=(WIDER,),
                lost=known.lost,
            )
        return None
