"""UV020 labels

What it measures: whether all targets are the same; whether they are values that the loss cannot mean (an index beyond
the classes, −1 and 1 under a sigmoid); and, where the network learns at no rate, whether ridge regression, nearest
neighbours and random features learn the held-out samples from the same batches.
Why it is bad: what does not follow from the inputs cannot be learned from them.
Limitations: simple models are no proof: what none of the three learns, a network for images or language may. So that
finding is sure, and never more than 55 %, only where the network comes to fit the samples that it is trained on.
Targets that are constant because the loss does not read them (an equation's, a generator's) are no finding.
Prescriptions: look at some samples with their targets, as the loss gets them.
References: Karpathy 2019, "A recipe for training neural networks" ("become one with the data"); Northcutt et al. 2021.
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix
from unvanish.core.values import counted
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination

ENOUGH = 256  # samples that the simple models were fitted on


@final
@dataclass(frozen=True)
class Labels(Check):
    code = "UV020"
    kind = "labels"
    title = "labels"
    explains = (*CONSEQUENCES, "imbalance", "regularisation", "non_finite")
    prescriptions = (
        Fix(
            "look at samples with their targets, as the loss gets them",
            "def show(batches, count=8):\n"
            "    inputs, targets = next(iter(batches))\n"
            "    for one, target in list(zip(inputs, targets))[:count]:\n"
            "        print(target.tolist(), one.shape, one.float().mean().item())",
            where="by hand",
        ),
    )

    def examine(self, seen: Examination) -> Finding | None:
        targets = seen.targets
        if seen.invalid:
            return self.finding(
                seen.invalid,
                certainty=0.97,
                prescriptions=(
                    "targets within the range that the loss and the number of outputs allow",
                    *self.prescriptions,
                ),
            )
        if targets is None:
            return None
        if _other_convention(seen):
            return self.finding(
                f"the targets are {targets.low:g} and {targets.high:g}, and the output is a "
                f"{seen.ending.activation if seen.ending else 'sigmoid'}, between 0 and 1",
                certainty=0.95,
                prescriptions=(
                    Fix(
                        "targets 0 and 1",
                        "plain_loss = loss_fn\n"
                        "loss_fn = lambda out, target: plain_loss(out, (target > 0).to(out.dtype))",
                    ),
                ),
            )
        if targets.constant and seen.compared:
            return self.finding(
                f"all {counted(targets.samples, 'target')} are {targets.low:g}: there is nothing to learn",
                certainty=0.95,
                value=targets.low,
            )
        if seen.fails_at_every_rate_tried and seen.simple is not None and not seen.simple.learned:
            return self.finding(
                "the targets do not seem to follow from the inputs: neither the network nor ridge regression, nearest "
                f"neighbours or random features predict {counted(seen.simple.held, 'held-out sample')} beyond chance"
                + (", though the network fits those that it is trained on" if seen.memorised else ""),
                certainty=0.55 if seen.memorised and seen.simple.trained >= ENOUGH else 0.45,
                beyond_chance=max(seen.simple.beyond.values()),
            )
        return None


def _other_convention(seen: Examination) -> bool:
    end, targets = seen.ending, seen.targets
    bounded = end is not None and end.low == 0 and end.high == 1 and end.unreachable is not None
    return bool(bounded and targets is not None and targets.classes == 2 and targets.low < 0)
