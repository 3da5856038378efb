"""What people hand to `check`: a model or a factory, optimizers of several kinds, a loss or none."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from unvanish.core.arguments import batches_of_pairs, in_brief
from unvanish.core.blocks import Block
from unvanish.core.errors import RecipeError, UnvanishError, as_theirs
from unvanish.core.setup import Loss, Setup
from unvanish.diagnosis.trial.isolation import unwrapped

NEEDED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
KEYS = ("model", "batches", "loss_fn", "loss", "optimizer")

Optimizers = torch.optim.Optimizer | Iterable[torch.optim.Optimizer] | Callable[..., torch.optim.Optimizer] | None


@dataclass(frozen=True, eq=False)
class Given:
    """`blocks` are those of a setup, by which its layers are named."""

    model: nn.Module
    batches: Iterable[Any]
    loss_fn: Loss
    optimizer: torch.optim.Optimizer | None
    blocks: tuple[Block, ...] = ()


def given(model: Any, batches: Any, loss_fn: Any, optimizer: Any) -> Given:
    """The same of any of the forms in which it may come. `RecipeError` in a sentence where it is none of them.

    model      a module; a function without arguments that gives one, or a dict with `model` and, if it likes, the
               others by the names of `KEYS`; or such a dict; or a setup, of which a new model is built
    loss_fn    without one the output of the model must have a `.loss`
    optimizer  one, several, or a factory that is called with the model's parameters
    """
    if isinstance(model, Setup):
        built, own = model.build()
        blocks = (*model.blocks, (model.output,))
        chosen = one_optimizer(own if optimizer is None else optimizer, built)
        return Given(built, _batches(batches), model.loss_fn if loss_fn is None else loss_fn, chosen, blocks)
    name = getattr(model, "__name__", type(model).__name__)
    found = _made(model, name) if callable(model) and not isinstance(model, nn.Module) else model
    parts: dict[str, Any] = dict(found) if isinstance(found, Mapping) else {"model": found}
    unknown = sorted(set(parts) - set(KEYS))
    if unknown:
        raise RecipeError(f"{name} gave {', '.join(map(repr, unknown))}; a dict may have {', '.join(KEYS)}")
    if not isinstance(parts.get("model"), nn.Module):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        raise RecipeError(
            f"a model is a torch.nn.Module, or a function without arguments that gives one or a dict with 'model'; "
            f"{name} gave {kind}"
            if callable(model)
            else f"a model is a torch.nn.Module, not {kind}"
        )
    batches = _batches(parts.get("batches") if batches is None else batches)
    given_losses = (loss_fn, parts.get("loss_fn"), parts.get("loss"), loss_of_output)
    loss: Any = next(one for one in given_losses if one is not None)
    if isinstance(loss, type):
        raise RecipeError(f"the loss is the class {loss.__name__}; give an instance of it: {loss.__name__}()")
    if not callable(loss):
        raise RecipeError(f"the loss is a function of (output, target), not {in_brief(loss)}")
    optimizer = parts.get("optimizer") if optimizer is None else optimizer
    return Given(parts["model"], batches, cast(Loss, loss), one_optimizer(optimizer, parts["model"]))


def _made(factory: Callable[..., Any], name: str) -> Any:
    wanting = [one.name for one in _parameters_of(factory) if one.default is one.empty and one.kind in NEEDED]
    if wanting:
        raise RecipeError(
            f"{name} is called without arguments, and wants {', '.join(wanting)}: give a model, or a lambda"
        )
    return factory()


def _parameters_of(function: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    try:
        return inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of some functions written in C
        return ()


def _batches(batches: Any) -> Iterable[Any]:
    if batches is None:
        raise RecipeError("there are no batches: give an iterable of (input, target), such as a DataLoader")
    return batches_of_pairs("batches", batches)


@contextmanager
def told_as_theirs(model: nn.Module) -> Iterator[None]:
    """What a user's model, loss or optimizer raises while it is trained, as an `UnvanishError` with its place."""
    try:
        yield
    except UnvanishError:
        raise
    except Exception as error:
        name = type(model).__name__
        raise UnvanishError(f"{name} cannot be run and trained on these batches: {as_theirs(error)}") from error


def loss_of_output(output: Any, _target: Any) -> torch.Tensor:
    """The loss of a model that computes it itself, as those of transformers do."""
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if loss is None:
        raise RecipeError(
            f"the model's output, a {type(output).__name__}, has no .loss; give loss_fn, a function of (output, target)"
        )
    return loss


def one_optimizer(optimizer: Any, model: nn.Module) -> torch.optim.Optimizer | None:
    """What takes all steps at once; `RecipeError` where it is no optimizer."""
    inner = unwrapped(model)
    if optimizer is None:
        return None
    other_class = isinstance(optimizer, type) and not issubclass(optimizer, torch.optim.Optimizer)
    if callable(optimizer) and not isinstance(optimizer, torch.optim.Optimizer | nn.Module) and not other_class:
        factory = cast(Callable[..., Any], optimizer)
        optimizer = factory([p for p in inner.parameters() if p.requires_grad])
    if isinstance(optimizer, list | tuple):
        if not optimizer or not all(isinstance(one, torch.optim.Optimizer) for one in optimizer):
            raise RecipeError("several optimizers are a list of torch.optim.Optimizer, at least one")
        optimizer = optimizer[0] if len(optimizer) == 1 else Together(list(optimizer))
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise RecipeError(
            "an optimizer is one of torch.optim, a list of them, or a function of the parameters that gives one; "
            f"not a {type(optimizer).__name__}"
        )
    return optimizer


def refuse_another_s(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """`RecipeError` where the optimizer holds none of this model's parameters."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if held.isdisjoint(map(id, model.parameters())):
        raise RecipeError(
            f"the optimizer holds no parameter of {type(model).__name__}: it was made for another model, or for a copy"
        )


class Together(torch.optim.Optimizer):
    """Several optimizers that step one after the other."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers
        super().__init__([p for one in optimizers for group in one.param_groups for p in group["params"]], {})
        self.param_groups = [group for one in optimizers for group in one.param_groups]  # theirs, not copies

    def step(self, closure: Any = None) -> Any:
        for one in self.optimizers:
            one.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for one in self.optimizers:
            one.zero_grad(set_to_none)
