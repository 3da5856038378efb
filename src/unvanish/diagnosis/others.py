"""Where a network does not learn as it is: trials under other conditions, until one learns. That tells the cause."""

import math
from dataclasses import dataclass, field, replace

from unvanish.diagnosis.checks.input_scale import unusual
from unvanish.diagnosis.evidence.predictions import predictions_of
from unvanish.diagnosis.examination import Examination, Standardised
from unvanish.diagnosis.trial.changes import (
    SHUFFLED,
    WITHOUT_DECAY,
    WITHOUT_DROPOUT,
    Change,
    Scale,
    both_standardised,
    decay,
    drops,
    scale_of_targets,
    standardised_inputs,
    standardised_targets,
)
from unvanish.diagnosis.trial.context import TrialContext
from unvanish.diagnosis.trial.trial import Trial

FASTER = 10.0  # times the learning rate: a network that learns then is slow, not failing
NO_FACTOR, FAR_FROM_0 = 8.0, 0.03  # targets beyond are far from what an output layer gives at first

# Relative sizes of the first step ‖ΔW‖/‖W‖ that trials at other rates begin with.
STEP_SIZES = (1e-2, 1e-3, 1e-1, 1e-4)
FACTORS_BELOW_ROUNDING = (1e4, 1e8, 1e12)  # where a step is lost in the rounding of the weights


@dataclass(eq=False)
class OtherTrials:
    """`own` is the trial as it is; `steps` counts those of all others."""

    context: TrialContext
    own: Trial
    seen: Examination
    steps: int = 0
    tried: list[Trial] = field(default_factory=list)

    def learns(self, *, rate: float = 1.0, change: Change | None = None) -> bool:
        """A network that has learned something as it is has to come further, in as many steps."""
        if self.context.deadline.passed:
            return False
        behind = self.seen.behind
        steps = self.context.long if behind or change is not None else None  # as many as it had as it is
        trial = self.context.attempt(rate=rate, change=change, steps=steps, whole=behind)
        self.steps += trial.steps
        self.tried.append(trial)
        if not behind:
            return trial.learned
        there = self.context if change is None else self.context.changed(change)
        return trial.learned and there.keeps_up(trial) is not False

    def at_rates(self, rates: list[float], change: Change | None = None) -> tuple[float, ...]:
        """The first of the rates at which it learns."""
        for rate in rates:
            if self.learns(rate=rate, change=change):
                return (rate,)
        return ()

    @property
    def rates(self) -> list[float]:
        """Factors on the learning rate: a faster one, which tells most; and those with a first step of a usual size."""
        size = first_step(self.own)
        faster = [FASTER] if self.context.optimizer and not self.own.diverged and not self.seen.behind else []
        return faster + ([target / size for target in STEP_SIZES] if size > 0 else list(FACTORS_BELOW_ROUNDING))


def with_other_trials(context: TrialContext, seen: Examination, own: Trial, relieved: bool) -> tuple[Examination, int]:
    """Does it learn from inputs or targets of a usual scale? Without dropout, without decay? At another rate?

    relieved   whether the faults in its signals are gone with inputs of a usual scale
    """
    others = OtherTrials(context, own, seen)
    inputs = seen.inputs if seen.inputs and unusual(seen.inputs) else None
    if inputs is not None:
        change = standardised_inputs(Scale(inputs.mean, inputs.std))
        learned = [others.learns(rate=rate, change=change) for rate in ((1.0, FASTER) if context.optimizer else ())]
        begins = own.diverged and any(trial.begins_to for trial in others.tried)
        standardised = Standardised(any(learned), begins, relieved)
        seen = replace(seen, standardised=standardised)
        if standardised.helps:
            return seen, others.steps
    changes = _changes(context, seen)
    for change in changes:
        helped = others.learns(change=change)
        seen = replace(seen, changes={**seen.changes, change.name: helped})
        if helped:
            return seen, others.steps
    before, rates = len(others.tried), others.rates
    helps = others.at_rates(rates)
    at_rates = others.tried[before:]
    exhausted = len(at_rates) == len(rates) and all(trial.whole for trial in at_rates)
    seen = replace(seen, tried=any(trial.whole for trial in at_rates), exhausted=exhausted)
    if not helps:
        seen = _together(others, seen, changes, rates)
    if not any(seen.changes.values()):
        asked = (own.model, context.held, context.quietly, own.gap.loss, context.loss)
        seen = replace(seen, predictions=context.safely("predicted classes", predictions_of, *asked))
    if not helps and not any(seen.changes.values()):
        learnable = None if context.simple is None else context.simple.learned
        seen = replace(seen, simple=context.simple, learnable=learnable)
    if context.optimizer is None:  # plain SGD stands in, so nothing can be said about its rate
        return replace(seen, learned=True if helps else False if seen.tried else None), others.steps
    return replace(seen, learns_at=helps), others.steps


def _together(others: OtherTrials, seen: Examination, changes: list[Change], rates: list[float]) -> Examination:
    """What neither a change nor another rate does alone, both may do."""
    for change in changes:
        if change is not SHUFFLED and others.at_rates(rates, change):
            return replace(seen, changes={**seen.changes, change.name: True})
    return seen


def _changes(context: TrialContext, seen: Examination) -> list[Change]:
    """Those that make a difference here."""
    found: list[Change] = []
    targets = scale_of_targets(context.batches) if context.compares else None
    if targets is not None and far(targets):
        found.append(standardised_targets(targets))
        if seen.inputs and unusual(seen.inputs):
            found.append(both_standardised(Scale(seen.inputs.mean, seen.inputs.std), targets))
    if drops(context.model, context.batches[0]):
        found.append(WITHOUT_DROPOUT)
    if decay(context.optimizer) > 0:
        found.append(WITHOUT_DECAY)
    if seen.targets is not None and seen.targets.sorted:
        found.append(SHUFFLED)
    return found


def far(targets: Scale) -> bool:
    """Far from what an output layer gives at first, which is of the order of 1."""
    size = math.hypot(targets.mean, targets.std)
    return not FAR_FROM_0 < size < NO_FACTOR or abs(targets.mean) > NO_FACTOR * targets.std > 0


def first_step(trial: Trial) -> float:
    """The first step relative to the weights, all weights together: root mean square of the ratios."""
    for step in range(len(trial.first.steps)):
        known = [ratio for ratio in trial.first.row("update_ratio", step) if math.isfinite(ratio)]
        if any(known):
            return math.sqrt(sum(ratio**2 for ratio in known) / len(known))
    return 0.0
