"""UV008 learning rate too high

What it measures: a trial of some steps as it is, in which the network does not learn, and the same with smaller
rates, at one of which it does.
A loss that diverges tells it as well, if less surely.
Why it is bad: each step overshoots: the loss grows, or units die of the first steps and nothing learns after.
Known problems: a schedule that warms up starts with a small rate; check it with the rate that it reaches.
Remedies: the rate at which the trial learned; warm-up; gradient clipping.
References: Bengio 2012, "Practical recommendations", section 3.1.1; Smith 2017 (range test).
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.check import Check, Examination
from unvanish.core.finding import Finding


@final
@dataclass(frozen=True)
class LearningRateHigh(Check):
    code = "UV008"
    kind = "lr_high"
    title = "learning rate too high"
    explains = ("non_finite",)
    remedies = ("a smaller learning rate", "warm-up", "gradient clipping (torch.nn.utils.clip_grad_norm_)")

    def examine(self, seen: Examination) -> Finding | None:
        smaller = [rate for rate in seen.learns_at if rate < 1]
        if seen.learns is not False or not (smaller or (seen.diverged and not seen.learns_at)):
            return None
        if not smaller:
            return self.finding("the loss diverges within a few steps, though it was finite at first", certainty=0.6)
        rate = max(smaller)
        return self.finding(
            f"the network learns with {_of(rate)} of this learning rate, and not with the whole"
            + (": its loss diverges" if seen.diverged else ""),
            certainty=0.9 if rate < 0.3 else 0.6,
            learns_at=rate,
        )


def _of(rate: float) -> str:
    return f"1/{1 / rate:,.0f}" if rate < 0.5 else f"{rate:.0%}"
