"""The examination behind a `check`: passes, the trial as it is, and where it does not learn, other trials."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from unvanish.core.blocks import NORMS
from unvanish.core.errors import UnvanishError
from unvanish.core.setup import Loss
from unvanish.core.table import Table
from unvanish.diagnosis.checks.input_scale import unusual
from unvanish.diagnosis.diagnosis import diagnose
from unvanish.diagnosis.examination import Examination, Inputs, Standardised
from unvanish.diagnosis.trial.context import TrialContext
from unvanish.diagnosis.trial.isolation import step_by_step
from unvanish.diagnosis.trial.localise import cut_and_unused, first_non_finite
from unvanish.diagnosis.trial.symmetry import alike
from unvanish.diagnosis.trial.trial import Trial
from unvanish.measure.graph.layers import tensors_in
from unvanish.measure.graph.passes import How, Pass, observe, of_gradients
from unvanish.measure.graph.recorder import Row, row_of, table_of
from unvanish.measure.guard import Guard
from unvanish.train.batches import LABELS, Batch, mapped

FEW = 48  # samples held back that prove nothing where they show nothing
PASSES = 2
FASTER = 10.0  # times the learning rate: a network that learns then is slow, not failing

CLEAR = 0.9  # a finding as certain as that needs no more trials

# Relative sizes of the first step ‖ΔW‖/‖W‖ that trials at other rates begin with.
STEP_SIZES = (1e-2, 1e-3, 1e-1, 1e-4)
FACTORS_BELOW_ROUNDING = (1e4, 1e8, 1e12)  # where a step is lost in the rounding of the weights


def examine(context: TrialContext) -> tuple[Examination, int]:
    """The examination, and how many steps it took."""
    model, names, guard = context.model, context.names, Guard(warn=False)
    inputs = _inputs(context.batches)
    first = _loss_of(model, context.batches[0], context.loss)
    if not first.requires_grad:
        return Examination(no_gradient=True, inputs=inputs), 0
    if not math.isfinite(first.item()):
        (table,) = table_of([row_of(0, [observe([first], How(names, guard))])])
        where = first_non_finite(model, context.batches[0], context.quietly)
        return Examination(table, diverged=True, non_finite=where, inputs=inputs), 0
    measured = _measured(context, names, guard)
    own = context.attempt(steps=context.steps if context.optimizer else 1, measured=True)
    examination = _as_it_is(context, own, names, measured, guard, inputs)
    if examination.learned and inputs and unusual(inputs) and not own.had_learned:
        usual = context.attempt(inputs=inputs, steps=own.steps)
        better = usual.learned and usual.gap.relative >= 2 * own.gap.relative
        return replace(examination, standardised=Standardised(learned=better)), own.steps + usual.steps
    if not context.compares:
        return examination, own.steps
    if context.optimizer and (examination.learned or not own.whole or _is_clear(examination)):
        return _with_notes(context, examination), own.steps
    examination, spent = _with_other_trials(context, examination, own)
    return _with_notes(context, examination), spent


def _as_it_is(
    context: TrialContext,
    own: Trial,
    names: dict[int, str],
    measured: tuple[Table, tuple[Pass, ...]],
    guard: Guard,
    inputs: Inputs | None,
) -> Examination:
    """What was measured, and what came of the trial with the optimizer as it is."""
    model, (table, passes) = context.model, measured
    cut, unused = cut_and_unused(model, context.batches[0], context.loss, names, context.quietly)
    model.zero_grad()
    told = ("update_norm", "update_ratio") if own.first.steps and context.optimizer else ()
    updates = {name: own.first.row(name, 0) for name in told}
    if own.first.steps and not own.first.row("update_ratio", 0).any():  # warming up: the second step tells
        updates = {name: own.first.row(name) for name in updates}
    place = {layer: index for index, layer in enumerate(own.first.layers)}
    taken = {
        name: [[values[place[layer]] if layer in place else math.nan for layer in table.layers]]
        for name, values in updates.items()
    }
    unseen = _unseen(passes, model, names, cut + unused)
    notes = [f"{', '.join(unseen)}: operations that are not known"] if unseen else []
    notes += [f"{' of '.join(reversed(key))} ({reason})" for key, reason in guard.failed.items()]
    if not context.compares:
        notes.append(
            "learning: the loss does not depend on which target goes with which output"
            if context.held[0].has_target
            else f"learning: the batches hold no target: none is called {', '.join(LABELS)}"
        )
    return Examination(
        table.with_values(taken),
        stronger=_stronger(context, names, guard),
        learned=_learned(context, own) if context.compares else None,
        had_learned=own.had_learned,
        diverged=own.diverged,
        cut=cut,
        unused=unused,
        symmetric=tuple(name for name in alike(model, own.model, names) if name not in (*cut, *unused)),
        non_finite=_without_finite_gradient(table),
        inputs=inputs,
        notes=tuple(notes),
    )


def _with_notes(context: TrialContext, examination: Examination) -> Examination:
    if not context.deadline.was_missed:
        return examination
    note = f"everything: this machine took longer than {context.deadline.seconds:.0f} s, so trials are missing"
    return replace(examination, notes=(*examination.notes, note))


def _learned(context: TrialContext, own: Trial) -> bool | None:
    """Whether it learned; `None` where there was no time, or too few samples to be sure that it did not."""
    if context.optimizer is None:
        return None
    if own.learned or own.diverged:
        return own.learned
    return False if own.whole and context.held_samples >= FEW else None


def _is_clear(examination: Examination) -> bool:
    """Whether what was seen tells the cause, so that no more trials are needed."""
    found = diagnose(examination, title="").primary
    return found is not None and found.certainty >= CLEAR and not (examination.inputs and unusual(examination.inputs))


def _with_other_trials(context: TrialContext, examination: Examination, own: Trial) -> tuple[Examination, int]:
    """Does it learn from inputs of a usual scale? At another learning rate?"""
    steps, inputs = own.steps, examination.inputs
    if inputs and unusual(inputs):
        usual = [context.attempt(inputs=inputs, rate=rate) for rate in ((1.0, FASTER) if context.optimizer else ())]
        steps += sum(trial.steps for trial in usual)
        standardised = Standardised(
            learned=any(trial.learned for trial in usual),
            begins=own.diverged and any(trial.begins_to for trial in usual),
            relieved=_is_relieved(context, examination, inputs),
        )
        examination = replace(examination, standardised=standardised)
        if standardised.helps:
            return examination, steps
    rates, trials = _rates(context, own), list[Trial]()
    for rate in rates:
        if not context.deadline.passed and not any(trial.learned for trial in trials):
            trials.append(context.attempt(rate=rate))
    steps += sum(trial.steps for trial in trials)
    helps = tuple(trial.rate for trial in trials if trial.learned)
    exhausted = len(trials) == len(rates) and all(trial.whole for trial in trials)
    examination = replace(examination, tried=any(trial.whole for trial in trials), exhausted=exhausted)
    if not helps:
        examination = replace(examination, learnable=context.control())
    if context.optimizer is None:  # plain SGD stands in, so nothing can be said about its rate
        proof = examination.tried and context.held_samples >= FEW
        return replace(examination, learned=True if helps else False if proof else None), steps
    return replace(examination, learns_at=helps), steps


def _rates(context: TrialContext, own: Trial) -> list[float]:
    """Factors on the learning rate: a faster one, which tells most; and those with a first step of a usual size."""
    size = _size(own)
    faster = [FASTER] if context.optimizer and not own.diverged else []
    return faster + ([target / size for target in STEP_SIZES] if size > 0 else list(FACTORS_BELOW_ROUNDING))


def _is_relieved(context: TrialContext, examination: Examination, inputs: Inputs) -> bool:
    """Whether what is wrong with the signals is gone with inputs of a usual scale, measured anew."""
    flow = ("vanishing", "collapse", "exploding", "dead", "saturated")
    before = {one.kind for one in diagnose(replace(examination, learned=False), title="").findings if one.kind in flow}
    table, _ = _measured(context.with_inputs(inputs), context.names, Guard(warn=False))
    anew = replace(examination, table=table, stronger=None, learned=False)
    after = {one.kind for one in diagnose(anew, title="").findings if one.kind in flow}
    return bool(before) and not after


def _size(trial: Trial) -> float:
    """The first step relative to the weights, all weights together: root mean square of the ratios."""
    for step in range(len(trial.first.steps)):
        known = [ratio for ratio in trial.first.row("update_ratio", step) if math.isfinite(ratio)]
        if any(known):
            return math.sqrt(sum(ratio**2 for ratio in known) / len(known))
    return 0.0


def _measured(context: TrialContext, names: dict[int, str], guard: Guard) -> tuple[Table, tuple[Pass, ...]]:
    """What two passes show, forward and backward."""
    model, passes, gradients = context.model, list[Pass](), {}
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    with step_by_step() if recurrent else nullcontext():
        for batch in context.batches[:PASSES]:
            model.zero_grad()
            value = _loss_of(model, batch, context.loss)
            passes.append(observe([value], How(names, guard)))
            value.backward()
            gradients = of_gradients(passes[-1].layers)
    model.zero_grad()
    rows: list[Row] = [row_of(0, passes, gradients)]
    return table_of(rows)[0], tuple(passes)


def _stronger(context: TrialContext, names: dict[int, str], guard: Guard) -> Table | None:
    """A pass forward with inputs three times as strong."""
    batch = context.batches[0]
    if not any(tensor.is_floating_point() for tensor in tensors_in(batch.input)):
        return None
    strong = Batch(mapped(lambda t: t * 3 if t.is_floating_point() else t, batch.input), batch.target)
    seen = observe([_loss_of(context.model, strong, context.loss)], How(names, guard))
    return table_of([row_of(0, [seen])])[0]


def _loss_of(model: nn.Module, batch: Batch, loss: Loss) -> Tensor:
    try:
        value = loss(batch.output_of(model), batch.target)
    except UnvanishError:
        raise
    except Exception as error:  # whatever users write
        raise UnvanishError(f"{type(model).__name__} cannot be run on the first batch: {error}") from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise UnvanishError("the loss must be a tensor of one number: loss(output, target).mean(), say")
    return value


def _inputs(batches: Sequence[Batch]) -> Inputs | None:
    found = [
        t.detach().double().flatten() for batch in batches for t in tensors_in(batch.input) if t.is_floating_point()
    ]
    if not found:
        return None
    values = torch.cat(found)
    return Inputs(float(values.mean()), float(values.std(correction=0)), float(values.square().mean().sqrt()))


def _without_finite_gradient(table: Table) -> str | None:
    """The layer nearest to the loss whose backward signal is NaN or infinite."""
    norms = table.row("backward_norm")
    return next((table.layers[index] for index in reversed(range(len(table))) if math.isinf(norms[index])), None)


def _unseen(passes: Sequence[Pass], model: nn.Module, names: dict[int, str], others: Sequence[str]) -> tuple[str, ...]:
    """Layers whose weights train, but whose operations are not known."""
    seen = {layer.name for one in passes for layer in one.layers}
    scales = {id(p) for module in model.modules() if isinstance(module, NORMS) for p in module.parameters()}
    weights = (p for p in model.parameters() if p.requires_grad and p.dim() > 1 and id(p) not in scales)
    return tuple(dict.fromkeys(name for p in weights if (name := names[id(p)]) not in seen and name not in others))
