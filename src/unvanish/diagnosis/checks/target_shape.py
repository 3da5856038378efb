"""UV013 shapes of output and target do not match

What it measures: whether an operation of the loss has broadcast the output, (N,) or (N, 1), into (N, N), and whether
another target j then changes the gradient at outputs other than j.
Why it is bad: every output is compared with every target, so the best output is the mean of all targets.
Limitations: losses that compare all pairs on purpose add the axes themselves (`x[:, None]`) and are no finding; nor is
a broadcast along other axes.
Prescriptions: give output and target the same shape.
References: the PyTorch documentation, "Broadcasting semantics"; its warning "Using a target size that is different".
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination


@final
@dataclass(frozen=True)
class TargetShape(Check):
    code = "UV013"
    kind = "target_shape"
    title = "shapes of output and target do not match"
    explains = (*CONSEQUENCES, "labels", "target_scale", "output_activation", "imbalance", "regularisation")
    prescriptions = (
        Fix(
            "give output and target the same shape",
            "plain_loss, flat = loss_fn, lambda one: one.reshape(len(one), -1)\n"
            "loss_fn = lambda output, target: plain_loss(flat(output), flat(target))",
        ),
        "where the loss combines them itself: squeeze(1) the one of shape (N, 1), or unsqueeze(1) the other",
    )

    def examine(self, seen: Examination) -> Finding | None:
        if seen.broadcast is None:
            return None
        shape, made = seen.broadcast
        return self.finding(
            f"the loss broadcasts {shape} against the target into {made}: every output is compared with every target",
            certainty=0.97,
        )
