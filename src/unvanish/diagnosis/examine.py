"""The examination behind a `check`: facts, passes, the trial as it is, and where it does not learn, other trials."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

from torch import Tensor, nn

from unvanish.core.blocks import NORMS
from unvanish.core.nested import mapped
from unvanish.core.setup import Loss
from unvanish.core.table import Table
from unvanish.diagnosis.checks.input_scale import unusual
from unvanish.diagnosis.diagnosis import diagnose
from unvanish.diagnosis.evidence.contrast import contrast_over
from unvanish.diagnosis.evidence.evaluation import evaluated
from unvanish.diagnosis.evidence.origin import Origin
from unvanish.diagnosis.evidence.predictions import predictions_of
from unvanish.diagnosis.examination import Examination, Inputs, Standardised
from unvanish.diagnosis.facts import facts
from unvanish.diagnosis.others import with_other_trials
from unvanish.diagnosis.trial.changes import Change, Scale, standardised_inputs
from unvanish.diagnosis.trial.context import TrialContext
from unvanish.diagnosis.trial.isolation import step_by_step
from unvanish.diagnosis.trial.learning import LEAST, Gap
from unvanish.diagnosis.trial.localise import cut_and_unused
from unvanish.diagnosis.trial.symmetry import alike
from unvanish.diagnosis.trial.trial import ENOUGH, Trial
from unvanish.measure.graph.layers import tensors_in
from unvanish.measure.graph.passes import How, Pass, observe, of_gradients
from unvanish.measure.graph.recorder import Row, row_of, table_of
from unvanish.measure.guard import Guard
from unvanish.train.batches import LABELS, Batch

PASSES = 2
LONG = 60  # steps after which networks that learn are not far behind a simple model
RUN_ON = 4  # times as many steps, where a trial is in doubt
LARGE_STEP = 0.3  # ‖ΔW‖/‖W‖: three such steps replace the weights

CLEAR = 0.9  # a finding as certain as that needs no more trials


def examine(context: TrialContext) -> tuple[Examination, int]:
    """The examination, and how many steps it took."""
    known = facts(context)
    if not known.whole:
        return _with_notes(context, _cut_short(context, known.examination)), 0
    context = replace(context, predicts=known.examination.predicts)
    guard = Guard(warn=False)
    measured = _measured(context, context.names, guard)
    own = context.attempt(steps=context.long if context.optimizer else 1, measured=True, whole=True)
    steps = own.steps
    if context.optimizer and own.steps == context.long and _is_in_doubt(context, own):
        run_on = RUN_ON * own.steps if own.steps >= LONG else LONG
        own = context.attempt(steps=run_on, measured=True, whole=True)
        steps += own.steps
    seen = _as_it_is(context, own, measured, guard, known.examination)
    if seen.learned:
        return _of_a_learner(context, seen, own, steps)
    if context.optimizer and (not own.whole or _is_clear(seen)):
        return _with_notes(context, seen), steps
    relieved = _is_relieved(context, seen, seen.inputs if seen.inputs and unusual(seen.inputs) else None)
    seen, more = with_other_trials(context, seen, own, relieved)
    return _with_notes(context, seen), steps + more


def _cut_short(context: TrialContext, seen: Examination) -> Examination:
    """Where nothing can be trained: what one pass forward shows, where it leads to a number."""
    if seen.no_gradient or seen.origin is None:
        return seen
    value = _loss_of(context.model, context.batches[seen.origin.batch], context.loss)
    (table,) = table_of([row_of(0, [observe([value], How(context.names, Guard(warn=False)))])])
    return replace(seen, table=table, diverged=True)


def _is_in_doubt(context: TrialContext, own: Trial) -> bool:
    """It has learned something, and much less than a simple model; or its steps are so large that it may lose it."""
    if own.had_learned or own.steps < ENOUGH or own.gap.relative < LEAST:
        return False
    return context.keeps_up(own) is False or (own.learned and _largest(own) > LARGE_STEP)


def _largest(own: Trial) -> float:
    """‖ΔW‖/‖W‖ of the layer that moves most in the first steps."""
    sizes = [value for step in range(len(own.first.steps)) for value in own.first.row("update_ratio", step)]
    return max((value for value in sizes if math.isfinite(value)), default=0.0)


def _of_a_learner(context: TrialContext, seen: Examination, own: Trial, steps: int) -> tuple[Examination, int]:
    """Does it learn far better from inputs of a usual scale? Does it know in `eval()` what it knows in `train()`?"""
    if seen.inputs and unusual(seen.inputs) and not own.had_learned:
        usual = context.attempt(change=_inputs_of(seen.inputs), steps=own.steps, whole=True)
        far = _twice_as_well(usual.gap, own.gap, numbers=not context.compares or _are_numbers(seen))
        better = usual.learned and far
        seen, steps = replace(seen, standardised=Standardised(learned=better)), steps + usual.steps
    if seen.targets is not None and seen.targets.share > 0.5:
        asked = (own.model, context.held, context.quietly, own.gap.loss, context.loss)
        seen = replace(seen, predictions=context.safely("predicted classes", predictions_of, *asked))
    if context.compares:
        train = context.train or context.held
        both = context.safely(
            "eval()", evaluated, own.model, train, context.held, context.loss, context.quietly, own.before.loss
        )
        seen = replace(seen, evaluated=both)
    return _with_notes(context, seen), steps


def _twice_as_well(one: Gap, other: Gap, *, numbers: bool) -> bool:
    """Twice the gap; where targets are numbers, whose loss can come down to 0, half the loss as well."""
    return one.relative >= 2 * other.relative or (numbers and one.loss <= other.loss / 2)


def _are_numbers(seen: Examination) -> bool:
    return seen.targets is not None and not seen.targets.integers and not seen.targets.classes


def _as_it_is(
    context: TrialContext,
    own: Trial,
    measured: tuple[Table, tuple[Pass, ...]],
    guard: Guard,
    known: Examination,
) -> Examination:
    """What was measured, and what came of the trial with the optimizer as it is."""
    model, names, (table, passes) = context.model, context.names, measured
    keeps_up = context.keeps_up(own) if context.optimizer and own.steps >= LONG else None
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
    if context.few:
        notes.append(f"samples held back: there are {sum(b.size for b in context.batches)}, all trained on and asked")
    if not context.held[0].has_target and isinstance(context.held[0].input, Mapping):
        notes.append(f"targets: the batches hold no target: none is called {', '.join(LABELS)}")
    return replace(
        known,
        table=table.with_values(taken),
        stronger=_stronger(context, names, guard),
        learned=_learned(context, own) if keeps_up is None else keeps_up,
        behind=own.learned and keeps_up is False,
        skill=None if keeps_up is None else context.skill(own.model),
        had_learned=own.had_learned,
        by_loss=not context.compares,
        contrast=context.safely(
            "what tells outputs apart",
            contrast_over,
            model,
            own.model,
            context.held[0],
            context.loss,
            context.blocks,
            context.quietly,
        ),
        lost=own.lost,
        memorised=own.fits and not own.learned,
        diverged=own.diverged,
        cut=cut,
        unused=unused,
        symmetric=tuple(name for name in alike(model, own.model, names) if name not in (*cut, *unused)),
        origin=known.origin or _without_finite_gradient(table),
        notes=(*known.notes, *notes),
    )


def _with_notes(context: TrialContext, examination: Examination) -> Examination:
    failed = tuple(f"{what} ({why})" for what, why in context.failed.items())
    examination = replace(examination, notes=(*examination.notes, *failed))
    if not context.deadline.was_missed:
        return examination
    note = f"everything: this machine took longer than {context.deadline.seconds:.0f} s, so trials are missing"
    return replace(examination, notes=(*examination.notes, note))


def _learned(context: TrialContext, own: Trial) -> bool | None:
    """Whether it learned; `None` where there was no time to be sure that it did not."""
    if context.optimizer is None:
        return None
    return own.learned if own.learned or own.diverged or own.whole else None


def _is_clear(examination: Examination) -> bool:
    """Whether what was seen tells the cause, so that no more trials are needed."""
    found = diagnose(examination, title="").primary
    return found is not None and found.certainty >= CLEAR and not (examination.inputs and unusual(examination.inputs))


def _inputs_of(inputs: Inputs) -> Change:
    return standardised_inputs(Scale(inputs.mean, inputs.std))


def _is_relieved(context: TrialContext, examination: Examination, inputs: Inputs | None) -> bool:
    """Whether what is wrong with the signals is gone with inputs of a usual scale, measured anew."""
    if inputs is None:
        return False
    flow = ("vanishing", "collapse", "exploding", "dead", "saturated")
    before = {one.kind for one in diagnose(replace(examination, learned=False), title="").findings if one.kind in flow}
    table, _ = _measured(context.changed(_inputs_of(inputs)), context.names, Guard(warn=False))
    anew = replace(examination, table=table, stronger=None, learned=False)
    after = {one.kind for one in diagnose(anew, title="").findings if one.kind in flow}
    return bool(before) and not after


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
    value = context.safely("inputs three times as strong", _loss_of, context.model, strong, context.loss)
    return None if value is None else table_of([row_of(0, [observe([value], How(names, guard))])])[0]


def _loss_of(model: nn.Module, batch: Batch, loss: Loss) -> Tensor:
    return loss(batch.output_of(model), batch.target)


def _without_finite_gradient(table: Table) -> Origin | None:
    """The layer nearest to the loss whose backward signal is NaN or infinite."""
    norms = table.row("backward_norm")
    found = next((table.layers[index] for index in reversed(range(len(table))) if math.isinf(norms[index])), None)
    return None if found is None else Origin(found, backward=True)


def _unseen(passes: Sequence[Pass], model: nn.Module, names: dict[int, str], others: Sequence[str]) -> tuple[str, ...]:
    """Layers whose weights train, but whose operations are not known."""
    seen = {layer.name for one in passes for layer in one.layers}
    scales = {id(p) for module in model.modules() if isinstance(module, NORMS) for p in module.parameters()}
    weights = (p for p in model.parameters() if p.requires_grad and p.dim() > 1 and id(p) not in scales)
    return tuple(dict.fromkeys(name for p in weights if (name := names[id(p)]) not in seen and name not in others))
