"""UV009 learning rate too low

What it measures: a trial of some steps as it is, in which the network does not learn, and the same with larger
rates, at one of which it does.
Why it is bad: the network would learn, and nobody will live to see it.
Known problems: a network that is only slow, because it is fine-tuned or warms up, is no finding. With plain SGD a loss
that is multiplied by a small number is the same as a small rate.
Remedies: the rate at which the trial learned; Adam, whose steps do not depend on the size of the gradient.
References: Bengio 2012, "Practical recommendations", section 3.1.1; Smith 2017 (range test).
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from unvanish.core.check import Check, Examination
from unvanish.core.finding import Finding

FAR = 300.0  # times the rate; so much is no matter of taste
STANDSTILL = 1e-5  # relative to a weight, a step of Adam at a usual rate is 1e-3 to 1e-1


@final
@dataclass(frozen=True)
class LearningRateLow(Check):
    code = "UV009"
    kind = "lr_low"
    title = "learning rate too low"
    remedies = ("a larger learning rate", "Adam (BetterOptimizer)")

    def examine(self, seen: Examination) -> Finding | None:
        larger = [rate for rate in seen.learns_at if rate > 1]
        if seen.learns is not False or not larger or any(rate < 1 for rate in seen.learns_at):
            return None
        rate = min(larger)
        if rate <= FAR and _largest_step(seen) >= STANDSTILL:
            return None  # slow is not sick
        return self.finding(
            f"the network learns with {rate:,.0f} times this learning rate, and does not move with it",
            certainty=0.9,
            learns_at=rate,
        )


def _largest_step(seen: Examination) -> float:
    """‖ΔW‖/‖W‖ of the layer that moves most."""
    return float(np.nan_to_num(seen.reading.update_ratio_L, nan=0.0).max(initial=0.0))
