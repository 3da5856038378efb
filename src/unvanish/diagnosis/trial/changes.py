"""What a trial may change to see whether the network learns then: inputs, targets, dropout, weight decay, the order.

Each works on copies. A change that helps tells the cause.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unvanish.core.blocks import DROPOUTS
from unvanish.core.nested import mapped
from unvanish.diagnosis.evidence.parts import main_target
from unvanish.measure.graph.layers import tensors_in
from unvanish.train.batches import Batch

Batches = Sequence[Batch]


def _nothing(_model: nn.Module, _optimizer: torch.optim.Optimizer) -> None:
    pass


@dataclass(frozen=True)
class Change:
    """`prepare` edits copies of model and optimizer, `batches` makes other batches, `within` surrounds the steps."""

    name: str
    prepare: Callable[[nn.Module, torch.optim.Optimizer], None] = _nothing
    batches: Callable[[Batches], Batches] = list
    within: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class Scale:
    """Subtract the mean, divide by the standard deviation."""

    mean: float
    std: float

    def __call__(self, value: Tensor) -> Tensor:
        return (value - self.mean) / (self.std or 1.0) if value.is_floating_point() else value

    def inputs(self, batches: Batches) -> Batches:
        return [Batch(mapped(self, batch.input), batch.target) for batch in batches]

    def targets(self, batches: Batches) -> Batches:
        return [Batch(batch.input, mapped(self, batch.target)) for batch in batches]


def standardised_inputs(inputs: Scale) -> Change:
    return Change("inputs of mean 0 and standard deviation 1", batches=inputs.inputs)


def standardised_targets(targets: Scale) -> Change:
    return Change("targets of mean 0 and standard deviation 1", batches=targets.targets)


def both_standardised(inputs: Scale, targets: Scale) -> Change:
    return Change(
        "inputs and targets of mean 0 and standard deviation 1",
        batches=lambda batches: targets.targets(inputs.inputs(batches)),
    )


def _without_dropout(model: nn.Module, _optimizer: torch.optim.Optimizer) -> None:
    for module in model.modules():
        if isinstance(module, DROPOUTS):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention | nn.RNNBase):
            module.dropout = 0.0


class NoDropout(TorchFunctionMode):
    """Within it `torch.nn.functional.dropout` and its kind give their input back; `seen`: one would have dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") not in FUNCTIONS or not args:
            return func(*args, **kwargs)
        p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
        training = args[2] if len(args) > 2 else kwargs.get("training", True)
        self.seen = self.seen or (bool(training) and p > 0)
        return args[0]


FUNCTIONS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
WITHOUT_DROPOUT = Change("no dropout", _without_dropout, within=NoDropout)


def drops(model: nn.Module, batch: Batch) -> bool:
    """Whether it has a dropout that does something: a module, or a call in a forward method."""
    if any(isinstance(module, DROPOUTS) and module.p > 0 for module in model.modules()):
        return True
    with torch.no_grad(), suppress(RuntimeError), NoDropout() as mode:
        batch.output_of(model)
    return mode.seen


def _without_decay(_model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0


WITHOUT_DECAY = Change("no weight decay", _without_decay)


def decay(optimizer: torch.optim.Optimizer | None) -> float:
    """The largest weight decay of its groups."""
    return (
        max((float(group.get("weight_decay") or 0.0) for group in optimizer.param_groups), default=0.0)
        if optimizer
        else 0.0
    )


def _shuffled(batches: Batches) -> Batches:
    """The samples of all batches in a random order, in batches of the same sizes, where they can be joined."""
    sizes = [batch.size for batch in batches]
    order = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(0))

    def joined(parts: Sequence[object]) -> list[list[Tensor]]:
        lists = [[*tensors_in(part)] for part in parts]
        return [list(column) for column in zip(*lists, strict=True)]

    def again(parts: list[object]) -> list[object]:
        columns = [torch.cat(column)[order.to(column[0].device)].split(sizes) for column in joined(parts)]
        results = []
        for number, part in enumerate(parts):
            pieces = iter([column[number] for column in columns])
            results.append(mapped(lambda _one, pieces=pieces: next(pieces), part))
        return results

    try:
        inputs, targets = again([batch.input for batch in batches]), again([batch.target for batch in batches])
    except (RuntimeError, ValueError):  # of different shapes
        return batches
    return [Batch(one, other) for one, other in zip(inputs, targets, strict=True)]


SHUFFLED = Change("shuffled batches", batches=_shuffled)


def scale_of_targets(batches: Batches) -> Scale | None:
    """Of numbers; `None` where they are no numbers."""
    found = [one for batch in batches if (one := main_target(batch)) is not None]
    if not found or not all(one.is_floating_point() for one in found):
        return None
    values = torch.cat([one.detach().double().flatten() for one in found])
    return Scale(float(values.mean()), float(values.std(correction=0)))
