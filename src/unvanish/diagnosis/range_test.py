"""The learning-rate range test: one training on a copy, whose rate grows at each step.

    lr_t = lr · f_t,    f_t = 10^(−4 + 8 t/(T − 1))

The loss falls once the rate is large enough and rises once it is too large; a tenth of the rate at its minimum is a
usual choice (Smith 2017, "Cyclical learning rates for training neural networks", section 3.3; Howard & Gugger 2020).

Limitations: one training, so the answer is good to a factor of 3; and early losses say little of late training.
`repair` tries rates at equal budgets and proves what it finds.
"""

import copy
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.arguments import at_least_one, seed_number
from unvanish.core.errors import NothingToDo, RecipeError
from unvanish.core.setup import Loss
from unvanish.diagnosis.given import Optimizers, given, told_as_theirs
from unvanish.diagnosis.repair.data import read
from unvanish.remedies import LearningRate
from unvanish.train.step import plain_steps

LOWEST, HIGHEST = 1e-4, 1e4  # times the optimizer's rate
STEPS = 100
MOST_STEPS = 100_000
SMOOTH = 0.9  # of the running mean of the loss
TOO_LARGE = 4.0  # times the least smoothed loss: the end
BELOW_MINIMUM = 0.1  # of the rate at the minimum
FIRST, FELL = 10, 0.95  # a fall: to less than this part of the mean of the first losses


@dataclass(frozen=True)
class RangeTest:
    """factors   by which the learning rate was multiplied, step by step
    losses    before each of these steps
    smoothed  their running mean, corrected for its start
    rate      the optimizer's own, of its first group
    """

    factors: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    rate: float

    @property
    def factor(self) -> float:
        """A tenth of the factor at the minimum of the loss. `NothingToDo` where the loss never fell."""
        least = min(range(len(self.smoothed)), key=self.smoothed.__getitem__)
        if not self.smoothed[least] < FELL * statistics.fmean(self.losses[:FIRST]):
            raise NothingToDo("the loss falls at no rate: the learning rate is not what keeps it from learning")
        return float(f"{BELOW_MINIMUM * self.factors[least]:.2g}")

    @property
    def remedy(self) -> LearningRate:
        """What to apply to a setup."""
        return LearningRate(self.factor)

    def __str__(self) -> str:
        low, high = (self.rate * self.factors[place] for place in (0, -1))
        return (
            f"learning rate {self.rate * self.factor:.2g} ({self.factor:.2g} times {self.rate:g}): a tenth of where "
            f"the loss was least, of {len(self.losses)} steps from {low:.1g} to {high:.1g}"
        )

    def plot(self) -> Any:
        """A chart of Altair's: the loss over the rate, both on log scales."""
        import altair as alt

        from unvanish.render.charts import styled

        rows = [
            {"rate": self.rate * factor, "loss": loss, "smoothed": mean}
            for factor, loss, mean in zip(self.factors, self.losses, self.smoothed, strict=True)
            if loss > 0
        ]
        x = alt.X("rate:Q", title="learning rate", scale=alt.Scale(type="log"), axis=alt.Axis(format=".0e"))
        chart = alt.Chart(alt.Data(values=rows))
        layers = [
            chart.mark_point(size=12, opacity=0.5).encode(x=x, y=alt.Y("loss:Q", scale=alt.Scale(type="log"))),
            chart.mark_line().encode(x=x, y="smoothed:Q"),
        ]
        return styled(alt.LayerChart(layer=layers).properties(width=560, height=260))


def learning_rate_range_test(
    model: nn.Module, batches: Iterable[Any], loss_fn: Loss, optimizer: Optimizers, *, steps: int = STEPS, seed: int = 0
) -> RangeTest:
    """Train a copy with a rate that grows from 1e-4 to 1e4 times the optimizer's, and record the loss.

    The model, the optimizer and torch's random state are left as they are.

    >>> net, x = nn.Linear(4, 1), torch.randn(8, 32, 4)
    >>> data = [(one, one.sum(1, keepdim=True)) for one in x]
    >>> found = learning_rate_range_test(net, data, nn.functional.mse_loss, torch.optim.SGD(net.parameters(), 1e-4))
    >>> found.factor > 10
    True
    """
    if at_least_one("steps", steps, MOST_STEPS) < 2:
        raise RecipeError("a range test takes at least 2 steps, not 1")
    seed_number("seed", seed)
    parts = given(model, batches, loss_fn, optimizer)
    if parts.optimizer is None:
        raise RecipeError("a range test needs the optimizer whose rate it varies")
    rate = parts.optimizer.param_groups[0]["lr"]
    if not rate > 0:
        raise RecipeError(f"the optimizer's learning rate is {rate:g}; give one above 0 to start from")
    device = next((one.device for one in parts.model.parameters()), None)
    held, _ = read(parts.batches, device)
    own, its = copy.deepcopy((parts.model, parts.optimizer))
    rates = [group["lr"] for group in its.param_groups]
    factors = [LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1)) for step in range(steps)]
    losses, smoothed = list[float](), list[float]()
    mean = 0.0

    def set_rate(step: int) -> None:
        for group, first in zip(its.param_groups, rates, strict=True):
            group["lr"] = first * factors[min(step, steps - 1)]

    def note(_number: int, loss: Tensor) -> bool:
        nonlocal mean
        value = float(loss)
        if not math.isfinite(value):
            return True
        losses.append(value)
        mean = SMOOTH * mean + (1 - SMOOTH) * value
        smoothed.append(mean / (1 - SMOOTH ** len(losses)))
        set_rate(len(losses))
        return smoothed[-1] > TOO_LARGE * max(min(smoothed), 1e-30) and len(losses) > steps // 10

    own.train()
    set_rate(0)
    with told_as_theirs(parts.model), torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        way = plain_steps(own, own, parts.loss_fn, its, lambda _step: False)
        way.run(islice(cycle(held), steps), on_step=note)
    if not losses:
        raise NothingToDo("the loss is not finite at the first step: uv.check says why")
    return RangeTest(tuple(factors[: len(losses)]), tuple(losses), tuple(smoothed), rate)
