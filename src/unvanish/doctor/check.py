"""`check`: diagnose a network before it is trained, from a few batches, on a copy.

1. Two passes, forward and backward: what comes through the layers, either way.
2. A trial of some steps with the optimizer as it is: does the network learn? A network that learns is not
   sick of its flow, however uneven that is.
3. Where it does not: the same with other learning rates, and with inputs brought to a usual scale. What
   helps tells the cause.
"""

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.check import Examination, Inputs
from unvanish.core.errors import UnvanishError
from unvanish.core.reading import Reading
from unvanish.core.structure import NORMS
from unvanish.doctor.batches import Batch, mapped, take
from unvanish.doctor.bedside import SECONDS, TRAINED, Bedside
from unvanish.doctor.checks.input_scale import unusual
from unvanish.doctor.diagnosis import Diagnosis, diagnose
from unvanish.doctor.graph import names_of, tensors_in
from unvanish.doctor.measure import Pass, gradient_norms, listen, reading
from unvanish.doctor.symmetry import alike
from unvanish.doctor.trial import Loss, Trial
from unvanish.doctor.untouched import copied, step_by_step, untouched, unwrapped
from unvanish.doctor.whence import cut_and_unused, first_non_finite

HELD = 128  # samples to see whether it learns
FEW = 48  # samples held back that prove nothing where they show nothing
PASSES = 2
STEPS = 20
IN_ALL = 6.0  # seconds for all trials; what takes longer is left out
FASTER = 10.0  # times the learning rate: a network that learns then is slow, not sick

CLEAR = 0.9  # a finding as certain as that needs no more trials

# Relative sizes of the first step ‖ΔW‖/‖W‖ that trials at other rates begin with.
STEP_SIZES = (1e-2, 1e-3, 1e-1, 1e-4)
IN_THE_DARK = (1e4, 1e8, 1e12)  # factors, where a step is lost in the rounding of the weights


def check(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    loss: Loss,
    optimizer: torch.optim.Optimizer | None = None,
    steps: int = STEPS,
) -> Diagnosis:
    """Diagnose a model from a few batches, without touching it.

    model      any `torch.nn.Module`
    batches    an iterable of (input, target), such as a `DataLoader`; its first nine are used, more if they are small.
               Up to half of them are trained on, the others are held back. Inputs may be tensors, tuples
               (`model(*input)`) or dicts (`model(**input)`)
    loss       takes (output, target), gives a scalar
    optimizer  the one that will train the model; without it, plain SGD of several rates stands in, and nothing
               is said about the learning rate
    steps      how many optimizer steps a trial may take, on a copy

    Raises `UnvanishError` where the model cannot be run or copied.

    >>> import torch
    >>> from torch import nn
    >>> layers = [layer for _ in range(12) for layer in (nn.Linear(32, 32), nn.Sigmoid())]
    >>> model = nn.Sequential(*layers, nn.Linear(32, 4))
    >>> x = torch.randn(9, 64, 32, generator=torch.Generator().manual_seed(0))
    >>> check(model, zip(x, x[..., :4].argmax(-1)), loss=nn.functional.cross_entropy).primary.kind
    'vanishing'
    """
    if steps < 1:
        raise UnvanishError(f"a trial needs at least one step, not {steps}")
    given = unwrapped(model)
    if optimizer is not None and not _is_over(optimizer, given):
        raise UnvanishError(
            f"the optimizer holds no parameter of {type(given).__name__}: it was made for another model, or for a copy"
        )
    with untouched(given, batches), torch.enable_grad():
        taken = take(batches, TRAINED, HELD, _device(given))
        copy, own, its_loss = copied(given, optimizer, loss)
        if not copy.training:
            copy.train()
        bed = Bedside(copy, own, taken, its_loss or loss, steps)
        try:
            examination, spent = _examine(bed)
        except UnvanishError:
            raise
        except Exception as error:  # of the model, the loss or the optimizer: whatever users write
            raise UnvanishError(
                f"{type(given).__name__} cannot be run and trained on these batches: {type(error).__name__}: {error}"
            ) from error
    return diagnose(examination, title=type(given).__name__, steps=spent)


def _is_over(optimizer: torch.optim.Optimizer, model: nn.Module) -> bool:
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return not held.isdisjoint(map(id, model.parameters()))


def assert_healthy(model: nn.Module, batches: Iterable[Any], *, loss: Loss, **options: Any) -> None:
    """For a test suite: raises `AssertionError` with the whole diagnosis if `check` finds the model sick."""
    diagnosis = check(model, batches, loss=loss, **options)
    if diagnosis.sick:
        raise AssertionError(f"{type(model).__name__} is sick\n\n{diagnosis}")


def _examine(bed: Bedside) -> tuple[Examination, int]:
    """The examination, and how many steps it took."""
    model, names = bed.model, names_of(bed.model)
    inputs = _inputs(bed.batches)
    first = _loss_of(model, bed.batches[0], bed.loss)
    if not first.requires_grad:
        return Examination(reading([]), no_gradient=True, inputs=inputs), 0
    if not math.isfinite(first.item()):
        seen = reading([listen([first], names)])
        where = first_non_finite(model, bed.batches[0])
        return Examination(seen, diverged=True, non_finite=where, inputs=inputs), 0

    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    with step_by_step() if recurrent else nullcontext():
        passes, gradients = _passes(bed, names)
    model.zero_grad()
    cut, unused = cut_and_unused(model, bed.batches[0], bed.loss, names)
    model.zero_grad()
    own = bed.attempt(steps=bed.steps if bed.optimizer else 1)
    examination = Examination(
        reading(passes, gradients, _named(own, model, names) if bed.optimizer else {}),
        stronger=_stronger(bed, names),
        learns=_learns(bed, own) if bed.compares else None,
        trained=own.had_learned,
        diverged=own.diverged,
        cut=cut,
        unused=unused,
        symmetric=tuple(name for name in alike(model, own.model, names) if name not in (*cut, *unused)),
        non_finite=_without_finite_gradient(passes),
        unseen=_unseen(passes, model, names, cut + unused),
        inputs=inputs,
    )
    if examination.learns and inputs and unusual(inputs) and not own.had_learned:
        usual = bed.attempt(inputs=inputs, steps=own.steps)
        better = usual.learned and usual.gap.relative >= 2 * own.gap.relative
        return replace(examination, standardised=better), own.steps + usual.steps
    if not bed.compares:
        return examination, own.steps
    if bed.optimizer and (examination.learns or not own.whole or _is_clear(examination)):
        return examination, own.steps
    return _with_other_trials(bed, examination, own)


def _learns(bed: Bedside, own: Trial) -> bool | None:
    """Whether it learned; `None` where there was no time, or too few samples to be sure that it did not."""
    if bed.optimizer is None:
        return None
    if own.learned or own.diverged:
        return own.learned
    enough = own.whole and sum(batch.size for batch in bed.held) >= FEW
    return False if enough else None


def _is_clear(examination: Examination) -> bool:
    """Whether what was seen tells the cause, so that no more trials are needed."""
    found = diagnose(examination, title="").primary
    return found is not None and found.certainty >= CLEAR and not (examination.inputs and unusual(examination.inputs))


def _with_other_trials(bed: Bedside, examination: Examination, own: Trial) -> tuple[Examination, int]:
    """Does it learn from inputs of a usual scale? At another learning rate?"""
    until, steps, inputs = time.perf_counter() + IN_ALL - SECONDS, own.steps, examination.inputs
    if inputs and unusual(inputs):
        usual = [bed.attempt(inputs=inputs, rate=rate) for rate in ((1.0, FASTER) if bed.optimizer else ())]
        steps += sum(trial.steps for trial in usual)
        learned = any(trial.learned or (own.diverged and trial.begins_to) for trial in usual)
        examination = replace(examination, standardised=learned or _is_relieved(bed, examination, inputs))
        if examination.standardised:
            return examination, steps
    rates, trials = _rates(bed, own), list[Trial]()
    for rate in rates:
        if time.perf_counter() < until and not any(trial.learned for trial in trials):
            trials.append(bed.attempt(rate=rate))
    steps += sum(trial.steps for trial in trials)
    helps = tuple(trial.rate for trial in trials if trial.learned)
    exhausted = len(trials) == len(rates) and all(trial.whole for trial in trials)
    examination = replace(examination, tried=any(trial.whole for trial in trials), exhausted=exhausted)
    if not helps:
        examination = replace(examination, learnable=bed.control())
    if bed.optimizer is None:  # plain SGD stands in, so nothing can be said about its rate
        proof = examination.tried and sum(batch.size for batch in bed.held) >= FEW
        return replace(examination, learns=True if helps else False if proof else None), steps
    return replace(examination, learns_at=helps), steps


def _rates(bed: Bedside, own: Trial) -> list[float]:
    """Factors on the learning rate: a faster one, which tells most; and those with a first step of a usual size."""
    size = _size(own)
    faster = [FASTER] if bed.optimizer and not own.diverged else []
    return faster + ([target / size for target in STEP_SIZES] if size > 0 else list(IN_THE_DARK))


def _is_relieved(bed: Bedside, examination: Examination, inputs: Inputs) -> bool:
    """Whether what is ill in the flow is well with inputs of a usual scale, measured anew."""
    flow = ("vanishing", "collapse", "exploding", "dead", "saturated")
    before = {one.kind for one in diagnose(replace(examination, learns=False), title="").findings if one.kind in flow}
    passes, _ = _passes(bed.with_inputs(inputs), names_of(bed.model))
    bed.model.zero_grad()
    anew = replace(examination, reading=reading(passes), stronger=None, learns=False)
    after = {one.kind for one in diagnose(anew, title="").findings if one.kind in flow}
    return bool(before) and not after


def _size(trial: Trial) -> float:
    """The first step relative to the weights, all weights together: root mean square of the ratios."""
    known = [ratio for ratio in trial.updates.values() if math.isfinite(ratio)]
    return math.sqrt(sum(ratio**2 for ratio in known) / len(known)) if known else 0.0


def _passes(bed: Bedside, names: dict[int, str]) -> tuple[list[Pass], dict[str, Tensor]]:
    passes, gradients = [], {}
    for batch in bed.batches[:PASSES]:
        bed.model.zero_grad()
        value = _loss_of(bed.model, batch, bed.loss)
        passes.append(listen([value], names))
        value.backward()
        gradients = gradient_norms(passes[-1].layers)
    return passes, gradients


def _stronger(bed: Bedside, names: dict[int, str]) -> Reading | None:
    """A pass forward with inputs three times as strong."""
    batch = bed.batches[0]
    if not any(tensor.is_floating_point() for tensor in tensors_in(batch.input)):
        return None
    strong = Batch(mapped(lambda t: t * 3 if t.is_floating_point() else t, batch.input), batch.target)
    return reading([listen([_loss_of(bed.model, strong, bed.loss)], names)])


def _loss_of(model: nn.Module, batch: Batch, loss: Loss) -> Tensor:
    try:
        value = loss(batch.output_of(model), batch.target)
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


def _named(trial: Trial, model: nn.Module, names: dict[int, str]) -> dict[str, Tensor]:
    """The first step's update ratios by layer."""
    parameters = list(model.parameters())
    return {names[id(parameters[index])]: torch.tensor(ratio) for index, ratio in trial.updates.items()}


def _without_finite_gradient(passes: Sequence[Pass]) -> str | None:
    """The layer nearest to the loss whose backward signal is NaN or infinite."""
    for one in passes:
        for layer in reversed(one.layers):
            if not all(math.isfinite(norm.item()) for norm in one.backward[layer.name].values()):
                return layer.name
    return None


def _unseen(passes: Sequence[Pass], model: nn.Module, names: dict[int, str], others: Sequence[str]) -> tuple[str, ...]:
    """Layers whose weights train, but whose operations are not known."""
    seen = {layer.name for one in passes for layer in one.layers}
    scales = {id(p) for module in model.modules() if isinstance(module, NORMS) for p in module.parameters()}
    weights = (p for p in model.parameters() if p.requires_grad and p.dim() > 1 and id(p) not in scales)
    return tuple(dict.fromkeys(name for p in weights if (name := names[id(p)]) not in seen and name not in others))


def _device(model: nn.Module) -> torch.device | None:
    tensor = next(model.parameters(), None)
    return None if tensor is None else tensor.device
