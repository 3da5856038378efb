"""The optimizers of step.c. Their state is in the tensors of torch's optimizer, as a checkpoint keeps it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.train.native.structs import COptimizer, CParameter, Rule

RULES = {torch.optim.SGD: Rule.SGD, torch.optim.Adam: Rule.ADAM, torch.optim.AdamW: Rule.ADAMW}


def uncovered(kind: type[torch.optim.Optimizer], options: Mapping[str, Any]) -> str | None:
    """What of an optimizer step.c has no form for; `None` where it has all."""
    if kind not in RULES:
        return f"it has no form for {kind.__name__}"
    without = [option for option in ("dampening", "maximize", "amsgrad", "differentiable") if options.get(option)]
    return f"it has no form for {without[0]}" if without else None


def holds_others(optimizer: torch.optim.Optimizer, leaves: Sequence[nn.Module]) -> bool:
    """Whether it treats weights apart, does not hold all that the network trains, or has hooks."""
    hooked = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    trained = {id(p) for module in leaves for p in module.parameters() if p.requires_grad}
    return bool(hooked) or len(optimizer.param_groups) > 1 or not trained <= held


def rule_of(optimizer: torch.optim.Optimizer) -> COptimizer:
    group = optimizer.param_groups[0]
    kind = RULES[type(optimizer)]  # pyright: ignore[reportArgumentType]
    if kind is Rule.ADAM and group.get("decoupled_weight_decay"):
        kind = Rule.ADAMW
    rule = COptimizer(kind=kind, rate=group["lr"], decay=group["weight_decay"])
    if kind is Rule.SGD:
        rule.momentum, rule.nesterov = group["momentum"], group["nesterov"]
    else:
        (rule.beta1, rule.beta2), rule.epsilon = group["betas"], group["eps"]
        rule.steps = max((int(state["step"]) for state in optimizer.state.values()), default=0)
    return rule


def give_state(into: CParameter, parameter: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Momentum begins at 0, which gives the first step that torch gives."""
    if RULES[type(optimizer)] is not Rule.SGD:  # pyright: ignore[reportArgumentType]
        state: dict[str, Any] = optimizer.state[parameter]
        state.setdefault("step", torch.zeros(()))
        into.first = _kept(state, "exp_avg", parameter)
        into.second = _kept(state, "exp_avg_sq", parameter)
    elif optimizer.param_groups[0]["momentum"]:
        into.first = _kept(optimizer.state[parameter], "momentum_buffer", parameter)


def _kept(state: dict[str, Any], name: str, parameter: Tensor) -> int:
    if state.get(name) is None:
        state[name] = torch.zeros_like(parameter)
    return state[name].data_ptr()


def count(optimizer: torch.optim.Optimizer, rule: COptimizer) -> None:
    """Tell the optimizer how many steps were taken."""
    for state in optimizer.state.values():
        if "step" in state:
            state["step"].fill_(rule.steps)
