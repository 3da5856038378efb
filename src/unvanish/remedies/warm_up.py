"""Warm-up: the learning rate rises from near 0 over the first steps.

    lr_t = lr · min(1, (t + 1)/T)

The first gradients are the largest and the least reliable: of a network with norms behind its skips those of the
last layers are too large (Xiong et al. 2020, theorem 1), and Adam's own second moment is a mean of a few (Liu et al.
2020, section 3). Goyal et al. 2017, section 2.2, for large batches.

Limitations: it postpones what the full rate does; a network that diverges at that rate still diverges, T steps
later.
"""

from typing import Any, ClassVar, final

import torch

from unvanish.core.remedy import OptimizerRemedy
from unvanish.core.values import Count, validated


@final
@validated
class WarmUp(OptimizerRemedy):
    """Raise the learning rate linearly over the first `steps` steps."""

    kind: ClassVar[str] = "warm-up"

    steps: Count = 200

    def prepare(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["warm_up_to"], group["warmed_up"] = group["lr"], 0  # in the groups, so that a checkpoint has them
        optimizer.register_step_pre_hook(self._rise)

    def _rise(self, optimizer: Any, _args: object, _kwargs: object) -> None:
        for group in optimizer.param_groups:
            if group["warmed_up"] < self.steps:
                group["warmed_up"] += 1
                group["lr"] = group["warm_up_to"] * group["warmed_up"] / self.steps

    def __str__(self) -> str:
        return f"the learning rate warmed up over {self.steps} steps"
