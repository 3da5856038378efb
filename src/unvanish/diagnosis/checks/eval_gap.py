"""UV017 worse in eval() than in train()

What it measures: a network that has learned in the trial is asked in both modes whether its outputs fit their own
targets better than others'. Before that the running statistics get passes without steps, 3/momentum of them and 300 at
most; but none where the momentum is below 1e-3, with which no usual training gets them there.
Why it is bad: what was learned does not show where it is used.
Limitations: networks that have not learned in the trial are not asked. Dropout is off in both modes.
Prescriptions: a larger momentum of the batch normalisation, larger batches, a norm without running statistics.
References: Ioffe & Szegedy 2015, algorithm 2; Li et al. 2019, "Understanding the Disharmony between Dropout and Batch
Normalization by Variance Shift".
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix
from unvanish.diagnosis.evidence.evaluation import Evaluated
from unvanish.diagnosis.examination import Check, Examination

PLAINLY = 0.1  # of the loss: less has not been learned yet
KEPT = 0.25  # of what was learned in train(): less is much worse
SLOW = 1e-3  # a momentum under which 300 steps forget less than a quarter of where the statistics began


@final
@dataclass(frozen=True)
class EvalGap(Check):
    code = "UV017"
    kind = "eval_gap"
    title = "worse in eval() than in train()"
    prescriptions = (
        Fix(
            "momentum 0.1 for the batch normalisations",
            "for module in model.modules():\n"
            "    if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):\n"
            "        module.momentum = 0.1",
        ),
        "larger batches, or a normalisation without running statistics (GroupNorm, LayerNorm)",
    )

    def examine(self, seen: Examination) -> Finding | None:
        both = seen.evaluated
        if both is None or not seen.learned or both.train.relative < PLAINLY:
            return None
        slow = both.momentum is not None and both.momentum < SLOW
        shown = both.at_once if slow else both.eval  # users' loops have no extra passes
        if both.kept(shown) >= KEPT:
            return None
        return self.finding(
            f"outputs are much worse in eval() than in train(): they fit their own targets better than shuffled "
            f"ones by {both.train.relative:.1%} in train() and by {shown.relative:.1%} in eval(); the loss is "
            f"{both.train.loss:.3g} in train() and {shown.loss:.3g} in eval()" + _why(both, slow),
            layers=(both.module,) if both.module else (),
            certainty=0.93,
            train_gap=both.train.relative,
            eval_gap=shown.relative,
        )


def _why(both: Evaluated, slow: bool) -> str:
    if slow:
        return f"; with momentum {both.momentum:.1g} the running statistics at '{both.module}' hardly change"
    return f", also after {both.passes} passes for the running statistics" if both.passes else ""
