"""UV008 learning rate too high

What it measures: a trial of some steps as it is, in which the network does not learn, and the same with smaller
rates, at one of which it does.
A loss that diverges tells it as well, if less surely.
Why it is bad: each step overshoots: the loss grows, or units die of the first steps and nothing learns after.
Limitations: a schedule that warms up starts with a small rate; check it with the rate that it reaches.
Prescriptions: the rate at which the trial learned; warm-up; gradient clipping.
References: Bengio 2012, "Practical recommendations", section 3.1.1; Smith 2017 (range test).
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import Check, Examination

PLAINLY = 0.3  # of the rate: trials that begin with steps of neighbouring sizes are a factor of 10 apart, √0.1 = 0.32


@final
@dataclass(frozen=True)
class LearningRateHigh(Check):
    code = "UV008"
    kind = "lr_high"
    title = "learning rate too high"
    explains = ("non_finite",)
    prescriptions = ("a smaller learning rate", "warm-up", "gradient clipping (torch.nn.utils.clip_grad_norm_)")

    def examine(self, seen: Examination) -> Finding | None:
        smaller = [rate for rate in seen.learns_at if rate < 1]
        if seen.learned is not False or not (smaller or (seen.diverged and not seen.learns_at)):
            return None
        if not smaller:
            return self.finding("the loss diverges within a few steps, though it was finite at first", certainty=0.6)
        rate = max(smaller)
        return self.finding(
            f"the network learns with {_of(rate)} this learning rate, and not with it"
            + (": its loss diverges" if seen.diverged else ""),
            certainty=0.9 if rate < PLAINLY else 0.6,
            learns_at=rate,
        )


def _of(rate: float) -> str:
    return f"{rate:.2g} times" if rate < 0.5 else f"{rate:.0%} of"
