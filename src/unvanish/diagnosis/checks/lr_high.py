"""UV008 learning rate too high

What it measures: a trial of some steps as it is, in which the network does not learn, and the same with smaller
rates, at one of which it does.
A loss that diverges also shows it, with less certainty.
Why it is bad: each step overshoots: the loss grows, or units become inactive in the first steps and stay so.
Limitations: a schedule that warms up starts with a small rate; check it with the rate that it reaches.
Prescriptions: the rate at which the trial learned; warm-up; gradient clipping.
References: Bengio 2012, "Practical recommendations", section 3.1.1; Smith 2017 (range test).
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import Check, Examination
from unvanish.diagnosis.fixes import rounded
from unvanish.remedies import GradientClipping, LearningRate, WarmUp

PLAINLY = 0.3  # of the rate: trials that begin with steps of neighbouring sizes are a factor of 10 apart, √0.1 = 0.32

LARGE = 0.3  # ‖ΔW‖/‖W‖: three such steps replace the weights


@final
@dataclass(frozen=True)
class LearningRateHigh(Check):
    code = "UV008"
    kind = "lr_high"
    title = "learning rate too high"
    explains = ("non_finite", "collapse")
    prescriptions = (LearningRate(0.1), WarmUp(), GradientClipping())

    def examine(self, seen: Examination) -> Finding | None:
        if seen.fails_for_sure and seen.largest_step > LARGE:
            return self.finding(
                f"a step changes the weights of a layer by {seen.largest_step:.2g} times their norm, and the network "
                "learns next to nothing",
                certainty=0.58,
                largest_step=seen.largest_step,
            )
        smaller = [one for one in seen.learns_at if one < 1]
        if seen.learned is not False or not (smaller or (seen.diverged and not seen.learns_at)):
            return None
        if not smaller:
            return self.finding("the loss diverges within a few steps, though it was finite at first", certainty=0.6)
        factor = max(smaller)
        return self.finding(
            f"the network does not learn with this learning rate, and learns with {_of(factor)} it"
            + (": its loss diverges" if seen.diverged else ""),
            certainty=0.9 if factor < PLAINLY else 0.6,
            prescriptions=(LearningRate(rounded(factor, 2)), WarmUp(), GradientClipping()),
            rate_factor=factor,
        )


def _of(factor: float) -> str:
    return f"{factor:.2g} times" if factor < 0.5 else f"{factor:.0%} of"
