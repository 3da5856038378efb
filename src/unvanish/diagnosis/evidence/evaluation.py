"""`eval()` against `train()`: whether a network that has learned tells samples apart in both.

Running statistics need time: forward passes without steps come first, as many as they take to forget where they began,
3/momentum (e^{−3} = 5 % is left), 300 at most.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from torch import nn

from unvanish.core.blocks import DROPOUTS
from unvanish.core.setup import Loss
from unvanish.diagnosis.trial.learning import Gap, Quietly, gap
from unvanish.train.batches import Batch

MOST_PASSES = 300
LEAST_FALL = 0.2  # of the loss: of less, what is left of it says little
RUNNING = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


@dataclass(frozen=True)
class Evaluated:
    """The gaps in either mode, after the running statistics had time; `momentum` is the smallest of them.

    at_once   in `eval()`, right after the trial's own steps
    before    the loss before the first step
    """

    train: Gap
    eval: Gap
    at_once: Gap
    momentum: float | None
    passes: int
    module: str = ""
    before: float = float("nan")

    def kept(self, shown: Gap) -> float:
        """How much of what was learned in `train()` shows: by the gap, or by the loss, whichever is less."""
        by_gap = shown.relative / self.train.relative
        fallen = self.before - self.train.loss
        if not fallen > LEAST_FALL * abs(self.before):
            return by_gap
        return min(by_gap, (self.before - shown.loss) / fallen)


def evaluated(
    model: nn.Module,
    batches: Sequence[Batch],
    held: Sequence[Batch],
    loss: Loss,
    quietly: Quietly,
    before: float,
) -> Evaluated | None:
    """On a copy; `None` where no module acts differently in `eval()`."""
    norms = [
        (name, m)
        for name, m in model.named_modules()
        if isinstance(m, RUNNING) and m.track_running_stats and m.running_mean is not None
    ]
    drops = [name for name, m in model.named_modules() if isinstance(m, DROPOUTS) and getattr(m, "p", 0) > 0]
    if not norms and not drops:
        return None
    model = copy.deepcopy(model)
    model.train()
    momenta = [m.momentum for _, m in norms if m.momentum is not None]
    momentum = min(momenta, default=None)
    at_once = gap(copy.deepcopy(model).eval(), held, loss, quietly)
    passes = 0 if not norms else min(MOST_PASSES, round(3 / momentum) if momentum else 30)
    with quietly():
        for batch in islice(cycle(batches), passes):
            batch.output_of(model)
    in_train = gap(model, held, loss, quietly)
    model.eval()
    in_eval = gap(model, held, loss, quietly)
    slowest = next((name for name, m in norms if m.momentum == momentum), "")
    return Evaluated(in_train, in_eval, at_once, momentum, passes, slowest or (drops[0] if drops else ""), before)
