"""UV023 gradients are never cleared

What it measures: `watch` only: whether the gradients of the last step are still there when the first backward pass
after an optimizer step begins, at every step that was looked at.
Why it is bad: each step follows the sum of all gradients since the first, so it goes on in old directions.
Limitations: gradients that are accumulated over several batches on purpose are cleared after the step, and are no
finding.
Prescriptions: optimizer.zero_grad() in every step.
References: the PyTorch documentation, "Zeroing out gradients in PyTorch".
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination

LEAST = 3  # steps that were looked at


@final
@dataclass(frozen=True)
class GradientsAccumulate(Check):
    code = "UV023"
    kind = "gradients_accumulate"
    title = "gradients are never cleared"
    explains = (*CONSEQUENCES, "non_finite", "labels")
    prescriptions = (
        Fix(
            "optimizer.zero_grad() in the loop before loss.backward(); or once and for all",
            "optimizer.register_step_post_hook(lambda its, *_: its.zero_grad())",
            where="by hand",
        ),
    )

    def examine(self, seen: Examination) -> Finding | None:
        loop = seen.loop
        if loop is None or loop.looked < LEAST or loop.left < loop.looked:
            return None
        return self.finding(
            f"at all {loop.looked} examined steps, backward() added to the gradients of the step before: "
            "they are never cleared",
            certainty=0.97,
            steps=loop.looked,
        )
