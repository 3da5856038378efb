"""The proof: the change against the untreated network, in pairs, on batches that no selection has seen.

    d_s = score of the changed − score of the untreated,  seed s the order of the batches, dropout and what is drawn

    mean ± t_(n−1, 0.975) · std(d)/√n

The paired t interval of the mean improvement (Student 1908). It has to lie above 0, and that of the changed network's
own score above chance: a network that came from NaN to the score of a constant answer is not repaired.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unvanish.core.statistics import t_interval

SEEDS = 5


@dataclass(frozen=True)
class Proof:
    """By seed, the mean score over the batches of the proof, of the untreated network and of the changed one.

    chance   the score of the best constant answer on these batches; −∞ where none is known
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    chance: float = -float("inf")

    @property
    def differences(self) -> tuple[float, ...]:
        return tuple(after - before for before, after in zip(self.before, self.after, strict=True))

    @property
    def mean(self) -> float:
        return float(np.mean(self.differences)) if self.before else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Of the mean improvement.

        >>> low, high = Proof((0.0,) * 5, (1.0, 2.0, 3.0, 4.0, 5.0)).interval
        >>> round(low, 4), round(high, 4)
        (1.0368, 4.9632)
        """
        return _interval(self.differences)

    @property
    def learns(self) -> bool:
        """Whether the changed network does better than a constant answer."""
        return _interval(self.after)[0] > self.chance

    @property
    def holds(self) -> bool:
        return len(self.before) >= SEEDS and self.interval[0] > 0 and self.learns


def _interval(values: Sequence[float]) -> tuple[float, float]:
    return t_interval(values) if len(values) > 1 else (-float("inf"), float("inf"))
