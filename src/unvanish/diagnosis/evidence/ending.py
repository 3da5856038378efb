"""The ending: what stands between the last weights and the loss, and whether the targets can be reached through it.

Read from the autograd graph of one pass, so it does not matter whether it is a module or a function. Two operations
belong together where nothing but views stands between them.
"""
# B batch, C classes

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unvanish.core.setup import Loss
from unvanish.diagnosis.evidence.parts import below, made_by, main_output, main_target, up_to_weights
from unvanish.measure.graph.operations import CLAMPS, Node, base, kept
from unvanish.train.batches import Batch

# What an operation of a loss makes of its input: probabilities from logits; or what it takes as it is.
FROM_LOGITS = {"LogSoftmaxBackward": "log_softmax", "SoftmaxBackward": "softmax", "SigmoidBackward": "sigmoid",
               "BinaryCrossEntropyWithLogitsBackward": "sigmoid", "LogSigmoidBackward": "sigmoid"}  # fmt: skip
OF_LOG_PROBABILITIES = ("NllLossBackward", "NllLossNdBackward", "NllLoss2DBackward", "KlDivBackward")
OF_PROBABILITIES = ("BinaryCrossEntropyBackward",)
TO_PROBABILITIES = {"SoftmaxBackward": "softmax", "SigmoidBackward": "sigmoid"}
LOGARITHMS = ("LogSoftmaxBackward", "LogBackward", "LogSigmoidBackward", "Log1PBackward", "LogsumexpBackward")
RANGES = {
    "SigmoidBackward": ("sigmoid", 0.0, 1.0),
    "SoftmaxBackward": ("softmax", 0.0, 1.0),
    "HardsigmoidBackward": ("hardsigmoid", 0.0, 1.0),
    "TanhBackward": ("tanh", -1.0, 1.0),
    "ReluBackward": ("ReLU", 0.0, math.inf),
    "ThresholdBackward": ("threshold", 0.0, math.inf),
    "SoftplusBackward": ("softplus", 0.0, math.inf),
    "SiluBackward": ("SiLU", -0.279, math.inf),
    "GeluBackward": ("GELU", -0.17, math.inf),
    "LogSigmoidBackward": ("log-sigmoid", -math.inf, 0.0),
    "LogSoftmaxBackward": ("log-softmax", -math.inf, 0.0),
}
BY_ROUNDING = 0.05  # (p + 1e-9).log() and label smoothing leave the sum of the probabilities near 1


@dataclass(frozen=True)
class Ending:
    """What was seen between the last weights and the loss.

    activation    the last operation of the model, if it is an activation, in words; `module` made it, if one did
    low, high     its range
    doubled       what the loss applies to what is a probability already: `log_softmax` or `sigmoid`
    squashed      what the loss applies to logits that this activation has bounded
    raw           the loss takes log-probabilities and gets: `probabilities` or `logits`
    one_unit      a softmax over a single unit: its output is 1, whatever comes
    unreachable   the share of the loss of the best constant that the best outputs within the range still have;
                  `None` where the loss does not compare output with target one by one
    """

    activation: str = ""
    module: str = ""
    low: float = -math.inf
    high: float = math.inf
    doubled: str = ""
    squashed: str = ""
    raw: str = ""
    one_unit: bool = False
    unreachable: float | None = None


def ending(loss_value: Tensor, output: Any, batch: Batch, made: Mapping[Node, str]) -> Ending:
    """From one pass: the loss, the output that it was made of, and which module made which node."""
    shown = main_output(output, batch.size)
    last = None if shown is None else made_by(shown)
    name, low, high = _range(last)
    nodes = up_to_weights(loss_value.grad_fn) if loss_value.grad_fn is not None else []
    doubled, where = _doubled(nodes)
    if where is not None:
        name, module = TO_PROBABILITIES[base(where)], made.get(where, "")
    else:
        module = made.get(last, "") if last is not None and name else ""
    return Ending(
        name,
        module,
        low,
        high,
        doubled=doubled,
        squashed=_squashed(nodes) if not doubled else "",
        raw=_raw(nodes),
        one_unit=any(_over_one(node) for node in nodes),
    )


def _range(node: Node | None) -> tuple[str, float, float]:
    name = "" if node is None else base(node)
    if name in (*CLAMPS, "HardtanhBackward"):
        low = getattr(node, "_saved_min_val", getattr(node, "_saved_min", None))
        high = getattr(node, "_saved_max_val", getattr(node, "_saved_max", None))
        if not isinstance(low, Tensor) and not isinstance(high, Tensor):
            return "clamp", -math.inf if low is None else float(low), math.inf if high is None else float(high)
    return RANGES.get(name, ("", -math.inf, math.inf))


def _doubled(nodes: list[Node]) -> tuple[str, Node | None]:
    for node in nodes:
        applies = FROM_LOGITS.get(base(node))
        before = below(node) if applies else None
        if applies and before is not None and base(before) in TO_PROBABILITIES and not _over_one(node):
            return applies, before
    return "", None


def _squashed(nodes: list[Node]) -> str:
    """Logits that cannot be large, or not negative: a ReLU or a tanh in front of the loss's softmax."""
    for node in nodes:
        applies = FROM_LOGITS.get(base(node)) if base(node) in ("LogSoftmaxBackward",) or "Logits" in base(node) else ""
        before = below(node) if applies else None
        if applies and before is not None and base(before) in ("ReluBackward", "TanhBackward", "HardtanhBackward"):
            return applies
    return ""


def _raw(nodes: list[Node]) -> str:
    for node in nodes:
        if base(node) not in OF_LOG_PROBABILITIES:
            continue
        before = below(node)
        if before is None or base(before) in LOGARITHMS:
            continue
        if base(before) in TO_PROBABILITIES:
            return "probabilities"
        values_BC = kept(node, "_saved_self")
        if values_BC is None or values_BC.dim() < 2:
            continue
        values_BC = values_BC.double()
        if _sums_to_one(values_BC.exp()):
            continue
        likely = bool((values_BC >= 0).all()) and _sums_to_one(values_BC)
        return "probabilities" if likely else "logits"
    return ""


def _sums_to_one(values_BC: Tensor) -> bool:
    return bool((values_BC.sum(1) - 1).abs().mean() < BY_ROUNDING)


def _over_one(node: Node) -> bool:
    """A softmax over a dimension of size 1."""
    if base(node) not in ("SoftmaxBackward", "LogSoftmaxBackward"):
        return False
    result = kept(node, "_saved_result")
    dim = int(node._saved_dim)  # pyright: ignore[reportAttributeAccessIssue]
    dim = dim - 2**64 if dim >= 2**63 else dim  # autograd keeps it unsigned
    return result is not None and result.dim() > 0 and result.shape[dim] == 1


@torch.no_grad()
def unreachable(end: Ending, output: Any, batch: Batch, loss: Loss) -> float | None:
    """(L(clip t) − L(t)) / (L(t̄) − L(t)): what the best outputs within the range leave of the best constant's loss."""
    shown, target = main_output(output, batch.size), main_target(batch)
    if (
        not end.activation
        or shown is None
        or target is None
        or batch.target is not target
        or not target.is_floating_point()
    ):
        return None
    if target.numel() != shown.numel() or bool(torch.isnan(target).any()):
        return None
    wanted = target.reshape(shown.shape).to(shown)
    constant, reached = wanted.mean(0, keepdim=True).expand_as(wanted), wanted.clamp(end.low, end.high)
    best, mean, clipped, other = (float(loss(one, wanted)) for one in (wanted, constant, reached, shown.detach()))
    if not all(map(math.isfinite, (best, mean, clipped, other))) or not best <= min(mean, clipped, other):
        return None
    return (clipped - best) / (mean - best) if mean > best else None
