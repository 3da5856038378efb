"""`repair`: diagnose, try what could help, and prove that the best of it does.

1. Candidates come from the findings' prescriptions, causes first, then what usually helps, then pairs.
2. Each is made on a copy, and one batch is measured; what cannot help is dropped, with the reason.
3. Selection: the rest are trained at equal budgets on the same batches, and held-out batches decide. Beside them run
   the untreated network, a random remedy, and batch norm with Adam.
4. Proof: the winner against the untreated network on batches that no selection has used, five paired seeds. A t
   interval of the improvement that does not exclude 0 proves nothing, and the network is given back as it is.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from unvanish.core.arguments import a_function, at_least_one, positive_number, seed_number
from unvanish.core.errors import RecipeError, UnvanishError
from unvanish.core.setup import Loss, Setup
from unvanish.core.values import counted
from unvanish.diagnosis.check import check
from unvanish.diagnosis.diagnosis import Diagnosis
from unvanish.diagnosis.evidence.simple import simple_models
from unvanish.diagnosis.given import Given, Optimizers, given
from unvanish.diagnosis.repair.candidates import BESIDE, by_hand, causes, singles
from unvanish.diagnosis.repair.change import Change, Treated
from unvanish.diagnosis.repair.data import Parts, parts_of, read
from unvanish.diagnosis.repair.proof import SEEDS, Proof
from unvanish.diagnosis.repair.result import Best, Repair
from unvanish.diagnosis.repair.score import chance, metric_of
from unvanish.diagnosis.repair.selection import Selection, Tried, measured
from unvanish.diagnosis.repair.training import Training, seconds_a_step
from unvanish.diagnosis.trial.isolation import isolated, unwrapped
from unvanish.remedies import ALL

LADDER = (25, 50, 100, 200, 400, 800, 1600)  # steps of a training at full length
BUDGET_S = 60.0
TRAININGS = 24  # at full length, of selection and proof together: what a repair costs
LATE = 2.0  # times the budget: it is given up, and says so
ENOUGH = 0.8  # of a simple model's skill
FLOW = ("vanishing", "collapse", "saturated")


def repair(
    model: nn.Module | Setup | Callable[[], Any] | dict[str, Any],
    batches: Iterable[Any] | None = None,
    loss_fn: Loss | None = None,
    optimizer: Optimizers = None,
    *,
    budget_s: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Repair:
    """Find a change that makes a failing network learn, and prove it against the network as it is.

    model, batches, loss_fn, optimizer  as `check` takes them; the optimizer has to be there, an instance or a factory
    budget_s  seconds that it may take, 60 by default: they choose the number of steps from a fixed ladder
    steps     of each training at full length, in place of `budget_s`: the same number and seed give the same answer
    seed      of the random numbers
    progress  told what is going on, in a few words

    The batches are gone through once and kept in memory, up to 500 or a gigabyte. Nothing that is given is changed.
    Ctrl-C ends it early, with what was found so far.

    Raises `UnvanishError`, a sentence, where the model cannot be run, trained or copied.
    """
    if budget_s is not None and steps is not None:
        raise RecipeError("give budget_s or steps, not both: the seconds choose the steps")
    if budget_s is not None:
        positive_number("budget_s", budget_s)
    if progress is not None:
        a_function("progress", progress)
    seed_number("seed", seed)
    what = given(model, batches, loss_fn, optimizer)
    if what.optimizer is None:
        raise RecipeError("a repair trains, so it needs the optimizer: an instance, or a function of the parameters")
    what = replace(what, model=unwrapped(what.model))
    parameter = next(what.model.parameters(), None)
    kept, whole = read(what.batches, None if parameter is None else parameter.device)
    job = _Job(what, parts_of(kept, whole), seed, progress or (lambda _text: None), budget_s or BUDGET_S)
    with isolated(what.model, what.batches), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using a target size")  # the diagnosis tells it
        job.progress("diagnosing")
        diagnosis = check(
            what.model, [(one.input, one.target) for one in kept], what.loss_fn, what.optimizer, seed=seed
        )
        return job.run(diagnosis, None if steps is None else at_least_one("steps", steps))


@dataclass
class _Job:
    """One repair. `said` collects the sentences of its result."""

    what: Given
    parts: Parts
    seed: int
    progress: Callable[[str], None]
    budget_s: float
    began: float = field(default_factory=time.monotonic)
    said: list[str] = field(default_factory=list)
    late: bool = False
    interrupted: bool = False
    clocked: bool = False

    def run(self, diagnosis: Diagnosis, steps: int | None) -> Repair:
        result = Repair("not proven", diagnosis, samples=self.parts.samples)
        if not self.parts.whole:
            self.said.append(f"The first {counted(sum(self.parts.samples), 'sample')} were used, there are more")
        if diagnosis.healthy:
            return self._with_words(replace(result, outcome="healthy"))
        hand = by_hand(diagnosis)
        if hand is not None:
            return self._with_words(replace(result, outcome="cannot help"))
        if self.parts.why:
            self.said.append(self.parts.why[0].upper() + self.parts.why[1:])
            return self._with_words(result)
        self.progress("timing a step")
        untreated = self._made(Change(()), 0)
        metric = metric_of(untreated.model, self.parts.select[0])
        self.clocked = steps is None
        steps = steps or self._affordable(untreated)
        self._say_price(steps)
        selection = Selection(
            self._made, self.parts, metric, self.what.loss_fn, steps, self.seed, self.progress, self._is_late,
            signal_counts=any(one.kind in FLOW for one in diagnosis.findings if one.sure), enough=self._enough(metric),
            base=self._first_that_can_be_made(causes(diagnosis)),
        )  # fmt: skip
        chosen, proof = None, Proof((), ())
        try:
            chosen = selection.run(
                singles(diagnosis), [("random remedy", self._random()), ("batch norm + Adam", BESIDE)]
            )
            if chosen is not None:
                proof = self._proof(chosen, metric, steps)
        except KeyboardInterrupt:
            self.interrupted = True
            self.said.append("It was interrupted: this is what was found so far")
        if self.late:
            self.said.append(f"It was stopped after {LATE:g} times the budget of {self.budget_s:g} s")
        result = replace(
            result,
            proof=proof if chosen is not None else None,
            selected=chosen.change if chosen is not None else None,
            tried=tuple(selection.tried),
            metric=metric,
            steps=steps,
        )
        if chosen is None or not proof.holds:
            if chosen is not None and proof.before and not proof.learns:
                self.said.append("With the best change it is still no better than a constant answer")
            return self._with_words(result)
        return self._with_words(replace(result, outcome="repaired", best=self._best(chosen)))

    def _made(self, change: Change, seed: int) -> Treated:
        what = self.what
        assert what.optimizer is not None
        return change.made(what.model, what.optimizer, what.loss_fn, self.parts.example, self.seed + seed)

    def _first_that_can_be_made(self, changes: Sequence[Change]) -> Change:
        for change in changes:
            with suppress(Exception):  # of whatever a user's model becomes; the selection says why
                treated = self._made(change, 0)
                treated.loss_fn(self.parts.train[0].output_of(treated.model), self.parts.train[0].target)
                return change
        return Change(())

    def _enough(self, metric: str) -> float:
        """What simple models reach, but for a fifth of their skill; −∞ where they learn nothing or cannot be asked."""
        try:
            simple = simple_models(self.parts.train, self.parts.select) if metric != "−loss" else None
        except Exception as error:  # of whatever users' batches hold
            self.said.append(f"Simple models could not be fitted to compare with ({type(error).__name__}: {error})")
            return -math.inf
        if simple is None:
            return -math.inf
        skill = ENOUGH * simple.skill[simple.best]
        return skill if metric != "accuracy" else chance(metric, self.parts.select) * (1 - skill) + skill

    def _affordable(self, untreated: Treated) -> int:
        """The steps of the ladder that the budget allows, after what the diagnosis has taken."""
        training = Training(untreated)
        one = seconds_a_step(training, self.parts.train)
        left = self.budget_s - (time.monotonic() - self.began)
        fitting = [steps for steps in LADDER if steps * TRAININGS * one <= left]
        return fitting[-1] if fitting else LADDER[0]

    def _say_price(self, steps: int) -> None:
        size = sum(p.numel() * p.element_size() for p in self.what.model.parameters())
        price = (
            f"Cost: up to {TRAININGS} trainings of {counted(steps, 'step')}, {SEEDS} seeds for the proof, and some "
            f"fifteen copies of {size / 2**20:.3g} MiB of weights"
        )
        self.progress(price)
        self.said.append(price)

    def _is_late(self) -> bool:
        if self.clocked and time.monotonic() - self.began > LATE * self.budget_s:
            self.late = True
        return self.late

    def _random(self) -> Change:
        """A remedy that the seed picks of those that apply, whatever the fault is."""
        for index in np.random.default_rng(self.seed).permutation(len(ALL)):
            change = Change((ALL[index](),))
            with suppress(UnvanishError):
                self._made(change, 0)
                return change
        return Change(())

    def _proof(self, chosen: Tried, metric: str, steps: int) -> Proof:
        proof = Proof((), (), chance(metric, self.parts.prove))
        for seed in range(1, SEEDS + 1):
            ends = []
            for change in (Change(()), chosen.change):
                self.progress(f"proof, seed {seed} of {SEEDS}: {change}")
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(self.seed + seed)
                    training = Training(self._made(change, seed), self._is_late)
                    torch.manual_seed(self.seed + seed)  # of dropout, the same for both
                    training.go_on(self.parts.order(self.seed + seed, steps))
                    ends.append(float(training.scores(metric, self.parts.prove, self.what.loss_fn).mean()))
            if self._is_late():
                break
            proof = replace(proof, before=(*proof.before, ends[0]), after=(*proof.after, ends[1]))
        return proof

    def _best(self, chosen: Tried) -> Best:
        made = self._made(chosen.change, 0)
        with torch.enable_grad():
            table = measured(made, self.parts.train[0])
        made = self._made(chosen.change, 0)  # a pass may have moved running statistics
        code = chosen.change.code(self.seed, self.parts.example_code)
        return Best(chosen.change, made.model, made.loss_fn, code, table, made.optimizer)

    def _with_words(self, result: Repair) -> Repair:
        seconds = time.monotonic() - self.began
        return replace(result, said=tuple(self.said), seconds=seconds, interrupted=self.interrupted or self.late)
