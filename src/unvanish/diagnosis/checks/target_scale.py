"""UV014 targets are not scaled

What it measures: mean and standard deviation of the targets; and whether the same network learns once they are brought
to mean 0 and standard deviation 1.
Why it is bad: an output layer gives numbers of the order of 1 at first, and an optimizer whose steps do not grow with
the gradient (Adam: a rate a step) needs 250,000/0.001 steps to reach prices; with one whose steps do, the first step
changes all weights far too much.
Limitations: where the network learns as it is, it is no finding. Targets that are all the same are UV020's.
Prescriptions: subtract the mean and divide by the standard deviation of the training targets, and put it back after.
References: LeCun et al. 1998, "Efficient BackProp", section 4.5; Goodfellow et al. 2016, section 6.2.2.
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination
from unvanish.diagnosis.fixes import rounded
from unvanish.remedies import TargetStandardisation

BY_HAND = "mean 0 and standard deviation 1 for the targets of the data set; put both back to read predictions"


@final
@dataclass(frozen=True)
class TargetScale(Check):
    code = "UV014"
    kind = "target_scale"
    title = "targets are not scaled"
    explains = (*CONSEQUENCES, "non_finite", "labels", "regularisation")
    prescriptions = (TargetStandardisation(0.0, 1.0), BY_HAND)

    def examine(self, seen: Examination) -> Finding | None:
        helped = [name for name, learned in seen.changes.items() if learned and "targets of mean 0" in name]
        if not helped or seen.targets is None or seen.targets.std == 0:
            return None
        targets = seen.targets
        return self.finding(
            f"the targets have mean {targets.mean:.3g} and standard deviation {targets.std:.3g}; with {helped[0]} the "
            "same network learns",
            certainty=0.93,
            prescriptions=(TargetStandardisation(rounded(targets.mean), rounded(targets.std)), BY_HAND),
            mean=targets.mean,
            std=targets.std,
        )
