"""UV009 learning rate too low

What it measures: a trial of some steps as it is, in which the network does not learn, and the same with larger
rates, at one of which it does.
Why it is bad: the network would learn, but not within any usual number of steps.
Limitations: a network that is only slow, because it is fine-tuned or warms up, is not reported, unless it is far behind
a simple model after a hundred steps. With plain SGD a loss that is multiplied by a small number is the same as a small
rate.
Prescriptions: the rate at which the trial learned; Adam, whose steps do not depend on the size of the gradient.
References: Bengio 2012, "Practical recommendations", section 3.1.1; Smith 2017 (range test).
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import Check, Examination
from unvanish.diagnosis.fixes import rounded
from unvanish.remedies import BetterOptimizer, LearningRate

FAR = 300.0  # times the rate: more than a schedule takes it down (Bengio 2012: rates are searched over 1e-6 to 1)
STANDSTILL = 1e-5  # ‖ΔW‖/‖W‖: a hundredth of the usual 1e-3, so that 100 steps do what one should


@final
@dataclass(frozen=True)
class LearningRateLow(Check):
    code = "UV009"
    kind = "lr_low"
    title = "learning rate too low"
    prescriptions = (LearningRate(10.0), BetterOptimizer("Adam", 0.001))

    def examine(self, seen: Examination) -> Finding | None:
        larger = [one for one in seen.learns_at if one > 1]
        if seen.learned is not False or not larger or any(one < 1 for one in seen.learns_at):
            return None
        factor = min(larger)
        if factor <= FAR and seen.largest_step >= STANDSTILL and seen.skill is None:
            return None  # slow is not failing
        return self.finding(
            f"the network does not learn with this learning rate, and learns with {factor:.3g} times it",
            certainty=_certainty(seen, factor),
            prescriptions=(LearningRate(rounded(factor, 2)), *self.prescriptions[1:]),
            rate_factor=factor,
        )


def _certainty(seen: Examination, factor: float) -> float:
    if seen.behind:
        return 0.45  # it has learned something: slow, perhaps
    return 0.9 if factor > FAR or seen.largest_step < STANDSTILL else 0.6
