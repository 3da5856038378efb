"""UV024 no step is taken

What it measures: `watch` counts backward passes and optimizer steps, and measures whether the steps change a weight;
`check` reads the learning rate.
Why it is bad: without steps, or with a rate of 0, every weight stays what it was.
Limitations: a schedule that warms up begins with a rate of 0; that is mentioned, but not as a fault.
Prescriptions: optimizer.step() after loss.backward(); a rate above 0; a scheduler that is stepped once an epoch.
References: the PyTorch documentation of torch.optim, "Taking an optimization step".
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination

NONE = 1e-12  # a learning rate with which no step changes a float32 weight of usual size
LEAST = 8  # backward passes without a step: nobody accumulates that many before the first


@final
@dataclass(frozen=True)
class NoStep(Check):
    code = "UV024"
    kind = "no_step"
    title = "no step is taken"
    explains = (*CONSEQUENCES, "labels", "imbalance", "regularisation", "gradients_accumulate", "data_order")
    prescriptions = (Fix("call optimizer.step() after loss.backward()", "optimizer.step()", "by hand"),)

    def examine(self, seen: Examination) -> Finding | None:
        loop, known = seen.loop, seen.parameters
        if loop is not None and loop.backwards >= LEAST and not loop.steps:
            return self.finding(
                f"{loop.backwards} backward passes and no step of the optimizer that is watched: no weight has changed",
                certainty=0.97,
                backward_passes=loop.backwards,
            )
        if loop is not None and loop.steps >= LEAST and loop.still and loop.rates and max(loop.rates) < NONE:
            return self.finding(
                f"{loop.steps} optimizer steps, and the last one that was measured changes no weight: the learning "
                f"rate is {max(loop.rates):.2g} now",
                certainty=0.9,
                prescriptions=(
                    "a larger learning rate; where a scheduler sets it, step it once an epoch, not a batch",
                ),
                learning_rate=max(loop.rates),
            )
        if known is not None and known.rates and not any(known.rates):
            warm = " A schedule sets it: check with the rate that it reaches" if known.warms_up else ""
            return self.finding(
                f"the learning rate is 0.{warm}" if warm else "the learning rate is 0",
                certainty=0.4 if warm else 0.97,
                prescriptions=(
                    Fix("a learning rate above 0", "for group in optimizer.param_groups:\n    group['lr'] = 1e-3"),
                ),
            )
        return None
