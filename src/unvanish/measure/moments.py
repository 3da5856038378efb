"""Norms of tensors that may have vanished or exploded: squares below the smallest float count too."""
# R runs (none in front where a run is alone)

import math

import torch
from torch import Tensor

# On the CPU a number of one run is known at once, and is a float: a step has hundreds, and operations on tensors of one
# element are most of what measuring costs. Elsewhere it is a tensor, [R] or 0-dimensional, and nobody waits for it.
Number = Tensor | float

# √ of the smallest and of the largest float32 is 1e-19 and 2e19. A norm between these has lost nothing to either:
LEAST, MOST = 1e-12, 1e16  # even if it is that of 1e7 equal elements


def norm(values: Tensor, lead: int = 0) -> Number:
    """√Σx² over all dimensions but the first `lead`. In float32, and again in float64 where squares were lost."""
    values = torch.view_as_real(values) if values.is_complex() else values
    if not values.is_cpu or lead:  # to look whether squares were lost would wait for the device
        flat = values.flatten(lead) if values.dim() > lead else values.unsqueeze(-1)
        return torch.linalg.vector_norm(flat, dim=-1, dtype=torch.float64)
    flat = single(values).reshape(-1)
    found = math.sqrt(flat.dot(flat).item())  # four times as fast as `vector_norm`, and ten times as exact
    return found if LEAST < found < MOST else torch.linalg.vector_norm(flat, dtype=torch.float64).item()


def number(value: Tensor, lead: int = 0) -> Number:
    """What is 0-dimensional, or [R], as a number."""
    return value if lead or not value.is_cpu else value.item()


def single(values: Tensor) -> Tensor:
    """Of half precision and integers in float32; others as they are."""
    exact = values.dtype in (torch.float32, torch.float64)
    return values if exact else values.to(torch.promote_types(values.dtype, torch.float32))


def hypot(a: Number, b: Number) -> Number:
    """√(a² + b²), whose squares neither vanish nor overflow."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.hypot(a, b)
    return math.hypot(a, b)


def ratio(part: Number, whole: Number) -> Number:
    """part / whole, NaN where the whole is 0."""
    if isinstance(whole, Tensor):
        return (part / whole).where(whole > 0, float("nan"))
    return part / whole if whole > 0 else float("nan")
