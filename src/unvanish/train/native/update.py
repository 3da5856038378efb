"""The optimizers of step.c. Their state is in the tensors of torch's optimizer, as a checkpoint keeps it."""

from typing import Any

import torch
from torch import Tensor

from unvanish.train.native.structs import COptimizer, CParameter, Rule

RULES = {torch.optim.SGD: Rule.SGD, torch.optim.Adam: Rule.ADAM, torch.optim.AdamW: Rule.ADAMW}


def uncovered(optimizer: torch.optim.Optimizer) -> str | None:
    """What of it step.c has no form for; `None` where it has all."""
    if type(optimizer) not in RULES:
        return f"it has no form for {type(optimizer).__name__}"
    if len(optimizer.param_groups) > 1:
        return "parameters are in several groups"
    for option in ("dampening", "maximize", "amsgrad"):
        if optimizer.param_groups[0].get(option):
            return f"it has no form for {option}"
    return None


def rule_of(optimizer: torch.optim.Optimizer) -> COptimizer:
    group = optimizer.param_groups[0]
    rule = COptimizer(kind=RULES[type(optimizer)], rate=group["lr"], decay=group["weight_decay"])  # pyright: ignore[reportArgumentType]
    if rule.kind == Rule.SGD:
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
