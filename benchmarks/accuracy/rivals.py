"""The thresholds of other tools, applied to the same trainings.

Re-implemented from what they publish (rules, papers, default arguments), since they need another framework, a cloud
service, or hooks that would be timed with them. Each sees 50 steps of training, and names the kinds it would report.
"""
# B batch, U units

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cases import Case
from subjects import made_ready

STEPS = 50


@dataclass
class Step:
    """What a rule may look at: of every weight the mean |gradient|, its norm and the update ratio; of every
    activation the share of units that are (nearly) never active, and of values in flat ends; the loss."""

    loss: float
    mean_gradient: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    zero_gradient: list[float] = field(default_factory=list)
    update_ratio: list[float] = field(default_factory=list)
    inactive: list[float] = field(default_factory=list)
    saturated: list[float] = field(default_factory=list)


def observed(case: Case, seed: int) -> list[Step]:
    """A case's training of 50 steps."""
    subject = made_ready(case, seed)
    return watched(subject.model, subject.optimizer, case.loss, subject.batches(STEPS))


def watched(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Any, Any], Tensor],
    batches: Iterable[tuple[Any, Any]],
) -> list[Step]:
    """A training, step by step; it ends early where it cannot go on."""
    steps: list[Step] = []
    weights = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    now = Step(0.0)

    def look(module: nn.Module, _args: Any, h: Tensor) -> None:
        if isinstance(module, nn.ReLU):  # active on less than 1 % of the inputs
            active_U = (h > 0).float().flatten(1).mean(0)
            now.inactive.append((active_U < 0.01).float().mean().item())
        elif isinstance(module, nn.Sigmoid | nn.Tanh):
            low = 0.05 if isinstance(module, nn.Sigmoid) else -0.95
            now.saturated.append(((h < low) | (h > 0.95)).float().mean().item())

    for module in model.modules():
        module.register_forward_hook(look)
    for x, y in batches:
        now = Step(0.0)
        optimizer.zero_grad()
        value = loss_fn(model(x), y)
        now.loss = value.item()
        steps.append(now)
        if not value.requires_grad or not math.isfinite(now.loss):
            break
        value.backward()
        before = [weight.detach().clone() for weight in weights]
        optimizer.step()
        for weight, old in zip(weights, before, strict=True):
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            now.mean_gradient.append(gradient.abs().mean().item())
            now.gradient_norm.append(gradient.norm().item())
            now.zero_gradient.append((gradient == 0).float().mean().item())
            now.update_ratio.append(((weight - old).norm() / old.norm().clamp_min(1e-30)).item())
    return steps


def sagemaker_debugger(steps: list[Step]) -> set[str]:
    """Its built-in rules VanishingGradient, DeadRelu, ExplodingTensor and WeightUpdateRatio at their defaults."""
    flags = set()
    if any(g < 1e-7 for step in steps for g in step.mean_gradient):
        flags.add("vanishing")
    if any(share > 0.5 for step in steps for share in step.inactive):
        flags.add("dead")
    if any(not math.isfinite(v) for step in steps for v in (step.loss, *step.gradient_norm)):
        flags |= {"exploding", "non_finite"}
    flags |= {"lr_high"} if any(u > 10 for step in steps for u in step.update_ratio) else set()
    flags |= {"lr_low"} if any(u < 1e-8 for step in steps for u in step.update_ratio) else set()
    return flags


def deep_diagnosis(steps: list[Step]) -> set[str]:
    """Its symptoms: numerical error, exploding tensor, vanishing gradient, dying ReLU, saturation, unchanged weight."""
    flags = set()
    if any(g < 1e-7 for step in steps for g in step.mean_gradient):
        flags.add("vanishing")
    if any(share > 0.5 for step in steps for share in step.inactive):
        flags.add("dead")
    if any(share > 0.9 for step in steps for share in step.saturated):
        flags.add("saturated")
    if any(not math.isfinite(v) or v > 1e5 for step in steps for v in (step.loss, *step.gradient_norm)):
        flags |= {"exploding", "non_finite"}
    if steps and steps[-1].update_ratio and max(steps[-1].update_ratio) < 1e-7:
        flags.add("lr_low")
    return flags


def autotrainer(steps: list[Step]) -> set[str]:
    """Its detectors: gradient ratio 1e-3 and 70, 70 % zero gradients, an oscillating loss, a loss that stands still."""
    flags = set()
    for step in steps:
        if not step.gradient_norm or not all(map(math.isfinite, step.gradient_norm)):
            flags |= {"exploding", "non_finite"}
            continue
        first, last = step.gradient_norm[0], step.gradient_norm[-1]
        if first < 1e-3 * last and first < 1e-3:
            flags.add("vanishing")
        if last > 0 and first / last > 70:
            flags.add("exploding")
        if any(zero > 0.7 for zero in step.zero_gradient):
            flags.add("dead")
    losses = [step.loss for step in steps]
    turns = sum(
        (b - a) * (c - b) < 0 and abs(c - b) > 0.5 * abs(b)
        for a, b, c in zip(losses, losses[1:], losses[2:], strict=False)
    )
    flags |= {"lr_high"} if turns > 0.3 * len(losses) else set()
    flags |= {"lr_low"} if losses and max(losses) - min(losses) < 0.01 * abs(losses[0]) else set()
    return flags


def torchmortem(steps: list[Step]) -> set[str]:
    """Its detectors: a ratio of 100 between the first and the last gradient, dead and saturated halves, no change."""
    flags = set()
    for step in steps:
        norms = step.gradient_norm
        if not math.isfinite(step.loss) or not all(map(math.isfinite, norms)):
            flags |= {"exploding", "non_finite"}
        elif norms:
            flags |= {"vanishing"} if norms[0] * 100 < norms[-1] else set()
            flags |= {"exploding"} if norms[0] > 100 * norms[-1] or max(norms) > 1e3 else set()
        flags |= {"dead"} if any(share > 0.5 for share in step.inactive) else set()
        flags |= {"saturated"} if any(share > 0.5 for share in step.saturated) else set()
        flags |= {"lr_low"} if step.update_ratio and max(step.update_ratio) < 1e-6 else set()
        flags |= {"lr_high"} if step.update_ratio and max(step.update_ratio) > 1 else set()
    return flags


RIVALS: dict[str, Callable[[list[Step]], set[str]]] = {
    "SageMaker Debugger": sagemaker_debugger,
    "DeepDiagnosis": deep_diagnosis,
    "AutoTrainer": autotrainer,
    "torchmortem": torchmortem,
}
