"""What is known of a network, its data and its loss before any step: each fact from its own file in `evidence`."""

import math
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.errors import UnvanishError, as_theirs
from unvanish.core.nested import mapped
from unvanish.core.setup import Loss
from unvanish.core.values import counted
from unvanish.diagnosis.evidence.broadcast import broadcast_of
from unvanish.diagnosis.evidence.ending import Ending, ending, unreachable
from unvanish.diagnosis.evidence.leak import leak_of
from unvanish.diagnosis.evidence.origin import Origin, finite, origin_of
from unvanish.diagnosis.evidence.parameters import parameters_of
from unvanish.diagnosis.evidence.parts import leaves, main_output, main_target, makers, up_to_weights
from unvanish.diagnosis.evidence.precision import precision_of
from unvanish.diagnosis.evidence.simple import two_valued
from unvanish.diagnosis.evidence.targets import Targets, targets_of
from unvanish.diagnosis.examination import Examination, Inputs
from unvanish.diagnosis.trial.context import TrialContext
from unvanish.measure.graph.layers import tensors_in
from unvanish.measure.graph.operations import base
from unvanish.train.batches import Batch


@dataclass(frozen=True, eq=False)
class Facts:
    """`examination` has them; with `whole` nothing stands in the way of a training."""

    examination: Examination
    whole: bool


def facts(context: TrialContext) -> Facts:
    """Looks at targets first, on the CPU: an index beyond the classes ends a process on CUDA."""
    model, batch, loss = context.model, context.batches[0], context.loss
    targets = context.safely("targets", targets_of, context.batches, context.following, context.loader)
    seen = Examination(
        inputs=inputs_of(context.batches), targets=targets, loss_fn=loss_name(loss), example=_example(batch)
    )
    if targets is not None and targets.used_up:
        seen = replace(seen, notes=(f"batches again: {counted(targets.batches, 'batch')} were read, and are used up",))
    with makers(model) as made:
        output: Any = None
        try:
            output = batch.output_of(model)
            value = _on_the_cpu_first(output, batch, loss)
        except (IndexError, RuntimeError, ValueError) as error:
            known = _known(error, seen, output)
            if known is None:
                raise _cannot_run(model, error, batch) from error
            return Facts(known, whole=False)
        except UnvanishError:
            raise
        except Exception as error:  # whatever users write
            raise _cannot_run(model, error, batch) from error
        _refuse_no_number(value)
        parameters = context.safely("parameters", parameters_of, model, context.optimizer, output, context.names)
        seen = replace(seen, parameters=parameters, no_gradient=not value.requires_grad)
        if not value.requires_grad:
            return Facts(seen, whole=False)
        end = context.safely("output activation", ending, value, output, batch, made)
        if end is not None and isinstance(output, Tensor):
            share = context.safely("reach of the output", unreachable, end, output, batch, loss)
            end = replace(end, unreachable=share)
        nodes = {base(node) for node in up_to_weights(value.grad_fn)} if value.grad_fn is not None else set()
        seen = replace(
            seen,
            ending=end,
            invalid=_invalid(nodes, targets),
            compared=bool(context.safely("comparison", _compared, context, value, output, batch)),
            differentiates=context.quietly is torch.enable_grad,
            predicts=bool(context.safely("predictions", _predicts, nodes, value, output, batch, loss)),
            broadcast=context.safely("shapes of output and target", broadcast_of, value, output, batch, loss),
        )
        del output, value
    seen = replace(seen, precision=context.safely("precision", precision_of, model, context.optimizer, batch, loss))
    leak, why = context.safely("samples that depend on each other", leak_of, model, batch) or (None, "")
    seen = replace(seen, leak=leak, no_leak_seen=why)
    refused, origin = context.safely("NaN or infinity", _scanned, context) or ("", None)
    if refused:
        return Facts(replace(seen, invalid=refused), whole=False)
    return Facts(replace(seen, origin=origin), whole=origin is None or origin.backward)


def _example(batch: Batch) -> str:
    """One tensor by its shape; others out of the batches."""
    if not isinstance(batch.input, Tensor):
        return "next(iter(batches))" + ("" if batch.target is None else "[0]")
    kind = "" if batch.input.dtype == torch.float32 else f", dtype={batch.input.dtype}"
    return f"torch.zeros({', '.join(map(str, batch.input.shape))}{kind})"


def loss_name(loss: Loss) -> str:
    """`CrossEntropyLoss`, `mse_loss`; `the loss` where it has no name."""
    name = type(loss).__name__ if isinstance(loss, nn.Module) else getattr(loss, "__name__", "")
    return name if name and name not in ("<lambda>", "loss_of_output", "loss", "loss_fn") else "the loss"


def _on_the_cpu_first(output: Any, batch: Batch, loss: Loss) -> Tensor:
    if any(one.device.type == "cuda" for one in tensors_in(output)):
        there, wanted = (mapped(lambda one: one.detach().cpu(), part) for part in (output, batch.target))
        with suppress(RuntimeError, TypeError, ValueError):  # its own weights are elsewhere
            loss(there, wanted)
    return loss(output, batch.target)


def _known(error: Exception, seen: Examination, output: Any) -> Examination | None:
    """What torch refuses in words that tell the cause."""
    words = str(error)
    if isinstance(error, IndexError) and "out of bounds" in words and isinstance(output, Tensor) and seen.targets:
        return replace(seen, invalid=_beyond(seen.targets, output))
    if (isinstance(error, IndexError) and "out of bounds" in words) or "class values must be" in words:
        return replace(seen, invalid=words.strip().splitlines()[0].rstrip("."))
    if "between 0 and 1" in words:
        return replace(seen, ending=Ending(raw="no probabilities"))
    return None


def _beyond(targets: Targets, output: Tensor) -> str:
    """Of classes that the network has no output for."""
    count = output.shape[1] if output.dim() > 1 else output.shape[0]
    return (
        f"the targets go from {targets.low:g} to {targets.high:g}, and the network has {counted(count, 'output')}, for "
        f"the classes 0 to {count - 1}"
    )


def _cannot_run(model: nn.Module, error: Exception, batch: Batch) -> UnvanishError:
    hint = _hint(model, error, batch)
    return UnvanishError(
        f"{type(model).__name__} cannot be run on the first batch: {as_theirs(error)}{hint and f'. {hint}'}"
    )


def _hint(model: nn.Module, error: Exception, batch: Batch) -> str:
    """For the two refusals of shapes that are most common."""
    words, x, y = str(error), batch.input, batch.target
    first = next((module for module in model.modules() if isinstance(module, nn.Linear)), None)
    if "shapes cannot be multiplied" in words and first is not None and isinstance(x, Tensor):
        flat = x[0].numel() == first.in_features and x.dim() > 2
        return f"The inputs have shape {tuple(x.shape)}, the first Linear takes {first.in_features}" + (
            ": flatten them first, nn.Flatten()" if flat else ""
        )
    if isinstance(y, Tensor) and y.dim() == 2 and y.shape[1] == 1 and "multi-target not supported" in words:
        return f"The targets have shape {tuple(y.shape)}: use target.squeeze(1)"
    return ""


def _refuse_no_number(value: Any) -> None:
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise UnvanishError("the loss must be a tensor of one number: loss(output, target).mean(), say")


def _invalid(nodes: set[str], targets: Targets | None) -> str:
    of_probabilities = nodes & {"BinaryCrossEntropyBackward", "BinaryCrossEntropyWithLogitsBackward"}
    if targets is None or not of_probabilities or (targets.low >= 0 and targets.high <= 1):
        return ""
    return f"the targets go from {targets.low:g} to {targets.high:g}; a binary cross-entropy takes 0 to 1"


def _predicts(nodes: set[str], value: Tensor, output: Any, batch: Batch, loss: Loss) -> bool:
    """Whether outputs are scores of classes; or numbers, which cost least where they are the targets, not beyond."""
    target, shown = main_target(batch), main_output(output, batch.size)
    if target is None or shown is None:
        return False
    if not target.is_floating_point():
        return bool(nodes & {"NllLossBackward", "NllLossNdBackward", "NllLoss2DBackward"})
    if target.shape != shown.shape or batch.target is not target or output is not shown:
        return False
    if two_valued(target):
        return True
    wanted = target.to(shown)
    with torch.no_grad():
        best, twice, more = (float(loss(one, target)) for one in (wanted, 2 * wanted, wanted + wanted.std()))
    return best < float(value.detach()) and best < min(twice, more)


def _compared(context: TrialContext, value: Tensor, output: Any, batch: Batch) -> bool:
    """Whether the loss compares output with target and nothing else: a generator's is judged by another network, an
    equation's residual by itself."""
    ours = {id(leaf) for one in tensors_in(output) for leaf in leaves(one.grad_fn)}
    if any(id(leaf) not in ours for leaf in leaves(value.grad_fn)):
        return False
    if context.quietly is torch.enable_grad:  # a model or a loss that differentiates by the input
        return False
    apart = mapped(torch.detach, output)

    def other(one: Tensor) -> Tensor:
        return one + 1 if one.is_floating_point() else (one == one.min()).to(one.dtype) + one.min()

    with torch.no_grad():
        moved = context.loss(apart, mapped(other, batch.target))
    return float(moved) != float(value.detach())


def _scanned(context: TrialContext) -> tuple[str, Origin | None]:
    """One pass over all batches: what torch says of a target that is no class; the first NaN or infinity."""
    for number, batch in enumerate(context.batches):
        try:
            whole = all(map(finite, [*tensors_in(batch.input), *tensors_in(batch.target)])) and _is_finite(
                context, batch
            )
        except IndexError as error:
            if "out of bounds" in str(error):
                return f"{str(error).strip().rstrip('.')}, in batch {number} (the first is 0)", None
            raise
        if not whole:
            found = origin_of(context.model, batch, context.loss)
            context.model.zero_grad()
            if found is not None:
                return "", replace(found, batch=number)
    return "", None


def _is_finite(context: TrialContext, batch: Batch) -> bool:
    """Its loss; of the first batch its gradients, too, and the weights."""
    first = batch is context.batches[0]
    with nullcontext() if first else context.quietly(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = context.loss(batch.output_of(context.model), batch.target)
        if not math.isfinite(float(value.detach())) or not first:
            return math.isfinite(float(value.detach()))
        value.backward()
    gradients = [p.grad for p in context.model.parameters() if p.grad is not None]
    context.model.zero_grad()
    return all(map(finite, [*gradients, *context.model.parameters()]))


def inputs_of(batches: Sequence[Batch]) -> Inputs | None:
    """Mean, standard deviation and RMS of all floating-point inputs together."""
    found = [
        t.detach().double().flatten() for batch in batches for t in tensors_in(batch.input) if t.is_floating_point()
    ]
    if not found:
        return None
    values = torch.cat(found)
    return Inputs(float(values.mean()), float(values.std(correction=0)), float(values.square().mean().sqrt()))
