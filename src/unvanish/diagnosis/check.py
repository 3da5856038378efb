"""`check`: diagnose a network before it is trained, from a few batches, on a copy.

1. Two passes, forward and backward: what comes through the layers, either way.
2. A trial of some steps with the optimizer as it is: does the network learn? A network that learns is not
   failing, however uneven its signals are.
3. Where it does not: the same with other learning rates, and with inputs brought to a usual scale. What
   helps tells the cause.

Budgets are steps and samples, so that a verdict does not depend on the speed of a machine; after a minute it is given
up, and the diagnosis says so.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from unvanish.core.arguments import at_least_one, seed_number
from unvanish.core.errors import RecipeError
from unvanish.core.setup import Loss, Setup
from unvanish.diagnosis.applicable import with_applicable
from unvanish.diagnosis.described import described
from unvanish.diagnosis.diagnosis import Diagnosis, diagnose
from unvanish.diagnosis.examine import examine
from unvanish.diagnosis.given import Optimizers, given, told_as_theirs
from unvanish.diagnosis.predicted import predicted_backward
from unvanish.diagnosis.trial.context import TRAINED, TrialContext
from unvanish.diagnosis.trial.isolation import copied, isolated, unwrapped
from unvanish.train.batches import take

HELD = 128  # samples to see whether it learns
STEPS = 20


def check(
    model: nn.Module | Setup | Callable[[], Any] | Mapping[str, Any],
    batches: Iterable[Any] | None = None,
    loss_fn: Loss | None = None,
    optimizer: Optimizers = None,
    *,
    steps: int = STEPS,
    seed: int = 0,
    loss: Loss | None = None,
) -> Diagnosis:
    """Diagnose a model from a few batches, without touching it.

    model      any `torch.nn.Module`; or a function without arguments that gives one, or a dict of model, batches,
               loss_fn and optimizer; or a `Setup`, whose layers are named as its blocks are
    batches    an iterable of (input, target), such as a `DataLoader`; its first nine are used, more if they are small.
               Up to half of them are trained on, the others are held back. Inputs may be tensors, tuples
               (`model(*input)`) or dicts (`model(**input)`); of a model that computes its loss, a batch may be a dict
    loss_fn    takes (output, target), gives a scalar; without it, the model's output must have `.loss`
    optimizer  the one that will train the model, several, or a factory that is called with its parameters; without
               it, plain SGD of several rates stands in, and nothing is said about the learning rate
    steps      how many optimizer steps a trial may take, on a copy
    seed       of the random numbers that dropout and the like draw during the check; yours are left as they are

    Raises `UnvanishError`, a sentence, where the model cannot be run or copied.

    >>> import torch
    >>> from torch import nn
    >>> layers = [layer for _ in range(12) for layer in (nn.Linear(32, 32), nn.Sigmoid())]
    >>> model = nn.Sequential(*layers, nn.Linear(32, 4))
    >>> x = torch.randn(9, 64, 32, generator=torch.Generator().manual_seed(0))
    >>> check(model, zip(x, x[..., :4].argmax(-1)), nn.functional.cross_entropy).primary.kind
    'vanishing'
    """
    if loss is not None:
        warnings.warn("check(loss=…) is called loss_fn now", DeprecationWarning, stacklevel=2)
    at_least_one("steps", steps)
    seed_number("seed", seed)
    what = given(model, batches, loss if loss_fn is None else loss_fn, optimizer)
    inner = unwrapped(what.model)
    title = type(inner).__name__
    if not any(True for _ in inner.parameters()):
        raise RecipeError(f"{title} has no parameters, so there is nothing to train")
    with isolated(inner, what.batches), torch.enable_grad(), torch.autograd.set_detect_anomaly(False):
        torch.manual_seed(seed)
        following = iter(what.batches)
        taken = take(following, TRAINED, HELD, _device(inner))
        copy, own, its_loss = copied(inner, what.optimizer, what.loss_fn)
        if not copy.training:
            copy.train()
        context = TrialContext(
            copy, own, taken, its_loss or what.loss_fn, steps,
            blocks=what.blocks, following=following, loader=what.batches,
        )  # fmt: skip
        with told_as_theirs(inner), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Using a target size")  # UV013 tells it
            examination, spent = examine(context)
        found = diagnose(examination, title=title, steps=spent, described=described(copy, context.names))
        copy.zero_grad()
        theory = context.safely("theory", predicted_backward, copy, taken[0].input)
        found = replace(found, predicted=theory or {})
        return with_applicable(found, copy, own, taken[0], context.loss)


def assert_healthy(
    model: Any,
    batches: Iterable[Any] | None = None,
    loss_fn: Loss | None = None,
    optimizer: Optimizers = None,
    **options: Any,
) -> None:
    """For a test suite: raises `AssertionError` with the whole diagnosis if `check` finds the model failing.

    Where the check is not sure, it passes with a warning.
    """
    diagnosis = check(model, batches, loss_fn, optimizer, **options)
    if diagnosis.healthy is False:
        raise AssertionError(f"{diagnosis.title} is failing\n\n{diagnosis}")
    if diagnosis.healthy is None:
        warnings.warn(f"unvanish is not sure: {diagnosis.last_word()}", stacklevel=2)


def _device(model: nn.Module) -> torch.device | None:
    tensor = next(model.parameters(), None)
    return None if tensor is None else tensor.device
