"""UV018 only the majority class is predicted

What it measures: how often the most frequent class is among the targets (or pixels), whether the network predicts it
everywhere after the trial, and whether its loss is that of the best constant, the entropy of the frequencies.
Why it is bad: with 2 % of positives a network that always says no is right in 98 % and its loss is small; what the few
could teach is outweighed by the many.
Limitations: a network may need more steps than a trial has to leave the majority; a finding is sure only where it
learns at no rate that was tried.
Prescriptions: weights in the loss by the inverse frequency, balanced sampling; for pixels a Dice loss.
References: Buda, Maki & Mazurowski 2018; Milletari, Navab & Ahmadi 2016 (Dice loss); Karpathy 2019 ("init well").
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix, Prescription
from unvanish.diagnosis.evidence.predictions import Predictions
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination

MAJORITY = 0.9  # of the targets
ALWAYS = 0.995  # of the predictions
MISLED = 1.5  # times it: by then a rate is at fault that another one mends
CONTENT = 0.9  # of the best constant's loss: a network that has learned costs less


@final
@dataclass(frozen=True)
class Imbalance(Check):
    code = "UV018"
    kind = "imbalance"
    title = "only the majority class is predicted"
    explains = (*CONSEQUENCES, "labels")
    prescriptions = (
        Fix(
            "weights by the inverse frequency (here of two classes, the second rare)",
            "weight = torch.tensor([1.0, 50.0])\nloss_fn = torch.nn.CrossEntropyLoss(weight=weight)",
        ),
        "balanced batches: torch.utils.data.WeightedRandomSampler",
    )

    def examine(self, seen: Examination) -> Finding | None:
        said = seen.predictions
        if said is None or any(seen.changes.values()):
            return None
        if seen.learns_at and said.loss > MISLED * said.constant:
            return None
        if said.majority < MAJORITY or said.majority >= 1 or said.share < ALWAYS:
            return None
        if seen.learned and said.loss < CONTENT * said.constant:
            return None
        what = "pixels" if said.pixels else "samples"
        return self.finding(
            f"{said.majority:.2%} of the {what} are of one class, and it is predicted everywhere: a constant "
            f"prediction has a loss of {said.constant:.3g}, and the network has {said.loss:.3g}",
            certainty=_certainty(seen, said),
            prescriptions=_for(seen, said.majority, said.pixels),
            majority=said.majority,
            loss=said.loss,
            best_constant=said.constant,
        )


def _certainty(seen: Examination, said: Predictions) -> float:
    if said.weighted:  # the loss is not content with the majority, or is a sum: perhaps it only takes longer
        return 0.45
    return 0.9 if seen.learned is False and (seen.learnable is not False or said.pixels) else 0.6


def _for(seen: Examination, majority: float, pixels: bool) -> tuple[Prescription, ...]:
    ratio = majority / (1 - majority)
    if seen.targets is not None and seen.targets.binary and not seen.targets.integers:
        weighted = f"rare = torch.tensor({ratio:.3g})\nloss_fn = torch.nn.BCEWithLogitsLoss(pos_weight=rare)"
        first = Fix(f"weigh the positives by {ratio:.3g} in the loss (for outputs that are logits)", weighted)
    elif seen.targets is not None and seen.targets.classes == 2:
        weights = f"[1.0, {ratio:.3g}]" if seen.targets.most == 0 else f"[{ratio:.3g}, 1.0]"
        first = Fix(
            f"weigh the rare class by {ratio:.3g}",
            f"weight = torch.tensor({weights})\nloss_fn = torch.nn.CrossEntropyLoss(weight=weight)",
        )
    else:
        return ("weights in the loss by the inverse frequency of each class",)
    other = "a Dice loss" if pixels else "balanced batches: torch.utils.data.WeightedRandomSampler"
    return (first, other)
