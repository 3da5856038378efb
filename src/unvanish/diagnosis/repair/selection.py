"""The selection: candidates are trained at equal budgets on the same batches, the promising ones for longer.

Successive halving: after a quarter of the steps the worse half goes and pairs of the best come; what is left after half
of them takes all. Where the best is then far behind simple models, one more part is added to it.
(Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization", algorithm 1.)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import nn

from unvanish.core.errors import UnvanishError
from unvanish.core.setup import Loss
from unvanish.core.table import Array, Table
from unvanish.diagnosis.profile import backward_loss
from unvanish.diagnosis.repair.candidates import extended, pairs, refused
from unvanish.diagnosis.repair.change import Change, Part, Treated
from unvanish.diagnosis.repair.data import Parts
from unvanish.diagnosis.repair.training import Training
from unvanish.measure.graph.layers import names_of
from unvanish.measure.graph.passes import How, observe, of_gradients
from unvanish.measure.graph.recorder import row_of, table_of
from unvanish.measure.guard import Guard
from unvanish.train.batches import Batch

ROUNDS = (0.25, 0.5, 1.0)  # of the steps
LEFT = (5, 3)  # candidates that go on after the first and the second
BEST = 3  # of which pairs are made
LOST = 1e-7  # of a backward signal: steps of the first layer are lost in the rounding of float32
ERRORS, LEAST = 2.0, 0.01  # by how many standard errors over batches, and how much, a score has to be better


@dataclass(eq=False)
class Tried:
    """A change, and what came of it.

    signal   the share of the backward signal at the last layer that reaches the first, before any step
    scores   the mean score after each round, by steps
    dropped  why it was not gone on with; "" where it went through
    role     "candidate", or what it is compared with: "untreated", "random remedy", "batch norm + Adam"
    candidate  it may be gone on with in pairs, whatever its role
    """

    change: Change
    role: str = "candidate"
    signal: float = math.nan
    scores: dict[int, float] = field(default_factory=dict)
    by_batch: Array = field(default_factory=lambda: np.array([]))
    dropped: str = ""
    candidate: bool = False

    @property
    def score(self) -> float:
        return list(self.scores.values())[-1] if self.scores else -math.inf

    def __repr__(self) -> str:
        return f"Tried({self.change}: {self.dropped or format(self.score, '.3g')})"


@dataclass(eq=False)
class Selection:
    """Tries changes of one network.

    said     told what is going on
    stopped  whether to end
    enough   a score that needs no more parts
    base     what every candidate has
    """

    make: Callable[[Change, int], Treated]
    parts: Parts
    metric: str
    loss_fn: Loss
    steps: int
    seed: int
    said: Callable[[str], None]
    stopped: Callable[[], bool]
    signal_counts: bool
    enough: float = -math.inf
    base: Change = field(default_factory=lambda: Change(()))
    tried: list[Tried] = field(default_factory=list)
    trainings: dict[Change, Training] = field(default_factory=dict)
    applies: dict[Part, bool] = field(default_factory=dict)

    def run(self, singles: Sequence[Change], beside: Sequence[tuple[str, Change]]) -> Tried | None:
        """The change to prove; `None` where nothing does better than the network as it is."""
        untreated = self._enter(Change(()), "untreated")
        for role, change in beside:
            self._enter(self._possible(change), role)
        for change in [self.base, *singles] if self.base.parts else singles:
            self._enter(change.within(self.base), "candidate")
        for number, share in enumerate(ROUNDS):
            steps = max(1, round(self.steps * share))
            self._train_to(steps)
            if self.stopped():
                break
            if number == 0:
                for change in pairs(self._best_parts()):
                    if change == self._possible(change):
                        self._enter(change.within(self.base), "candidate")
                self._train_to(steps)
            if number < len(LEFT):
                self._halve(LEFT[number], steps)
        best = next(iter(self._ranked()), None)
        if best is not None and best.score < self.enough and not self.stopped():
            for change in extended(best.change):
                self._enter(self._possible(change).within(self.base), "candidate")
            self._train_to(self.steps)
        return self._chosen(untreated)

    def _best_parts(self) -> list[Change]:
        """Of the best candidates what they have beyond the base."""
        beyond = [
            Change(tuple(part for part in one.change.parts if part not in self.base.parts)) for one in self._ranked()
        ]
        return [change for change in beyond if change.parts][:BEST]

    def _possible(self, change: Change) -> Change:
        """The change without the parts that find nothing to do in this network."""
        return Change(tuple(part for part in change.parts if self._applies(part)))

    def _applies(self, part: Part) -> bool:
        if part not in self.applies:
            try:
                self.make(Change((part,)), 0)
                self.applies[part] = True
            except UnvanishError:
                self.applies[part] = False
        return self.applies[part]

    def _enter(self, change: Change, role: str) -> Tried:
        known = next((one for one in self.tried if one.change == change), None)
        if known is not None:
            known.candidate = known.candidate or role == "candidate"
            return known
        tried = Tried(change, role, candidate=role == "candidate")
        self.tried.append(tried)
        try:
            treated = self.make(change, 0)
            tried.signal = signal_left(treated, self.parts.train[0])
        except UnvanishError as error:
            tried.dropped = refused(error)
        except Exception as error:  # of whatever a user's model becomes
            tried.dropped = f"it cannot be run: {' '.join(f'{type(error).__name__}: {error}'.split())[:120]}"
        else:
            if self.signal_counts and role == "candidate" and not change.changes_steps and tried.signal < LOST:
                tried.dropped = f"{tried.signal:.1e} of the backward signal reaches the first layer: it still vanishes"
            else:
                self.trainings[change] = Training(treated, self.stopped)
        return tried

    def _train_to(self, steps: int) -> None:
        for one in self.tried:
            training = self.trainings.get(one.change)
            if training is None or self.stopped():
                continue
            begun = len(training.losses)
            if begun < steps:
                self.said(f"{one.change}: to step {steps}")
                try:
                    torch.manual_seed(self.seed + begun)  # of dropout: the same for each, whoever came before
                    training.go_on(islice(self.parts.order(self.seed, steps), begun, None))
                except (RuntimeError, ValueError, TypeError, IndexError) as error:
                    one.dropped = f"it cannot be trained: {' '.join(str(error).split())[:120]}"
                    del self.trainings[one.change]
                    continue
            if steps not in one.scores:
                one.by_batch = training.scores(self.metric, self.parts.select, self.loss_fn)
                one.scores[steps] = float(one.by_batch.mean())
            if training.diverged and one.role == "candidate":
                one.dropped = "its loss diverges"
                del self.trainings[one.change]

    def _ranked(self) -> list[Tried]:
        going = [one for one in self.tried if one.candidate and one.change in self.trainings]
        return sorted(going, key=lambda one: (-one.score, one.change.size))

    def _halve(self, most: int, steps: int) -> None:
        for one in self._ranked()[most:]:
            if one.role != "candidate":  # what they are compared with goes on
                continue
            one.dropped = f"others did better after {steps} steps"
            del self.trainings[one.change]

    def _chosen(self, untreated: Tried) -> Tried | None:
        """Of those that cannot be told from the best one, the smallest change."""
        whole = [one for one in self.tried if one.role != "untreated" and self.steps in one.scores and not one.dropped]
        better = [one for one in whole if exceeds(one.by_batch, untreated.by_batch)]
        if not better:
            return None
        best = max(better, key=lambda one: one.score)
        alike = [one for one in better if not exceeds(best.by_batch, one.by_batch)]
        return min(alike, key=lambda one: (one.change.size, -one.score))


def exceeds(one: Array, other: Array) -> bool:
    """Whether the first scores are higher in the mean, over the same batches, by more than chance and by something."""
    with np.errstate(invalid="ignore"):
        difference = one - other
    if not np.isfinite(difference).all():
        return bool(np.nanmean(one) > np.nanmean(other))
    mean, n = float(difference.mean()), len(difference)
    error = float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    scale = max(1.0, float(np.abs(other).mean()))
    return mean > ERRORS * error and mean > LEAST * scale


def measured(treated: Treated, batch: Batch) -> Table:
    """What one pass of a batch shows, forward and backward, before any step."""
    model: nn.Module = treated.model
    value = treated.loss_fn(batch.output_of(model), batch.target)
    seen = observe([value], How(names_of(model), Guard(warn=False)))
    value.backward()
    (table,) = table_of([row_of(0, [seen], of_gradients(seen.layers))])
    model.zero_grad()
    return table


def signal_left(treated: Treated, batch: Batch) -> float:
    """Of the backward signal at its largest, what is left at the layer where least is; NaN where none is measured."""
    table = measured(treated, batch)
    return backward_loss(table).factor if len(table) > 1 else math.nan
