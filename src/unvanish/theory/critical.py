"""The critical line: the σ_w at which the backward signal is kept, χ₁ = 1, for each σ_b.

At a fixed point q* of the length map, both equations have closed solutions:

    σ_w² = 1/E φ′(√q* z)²,    σ_b² = q* − σ_w² E φ(√q* z)²

so the line is traced by q*, and σ_b is looked up on it (Schoenholz et al. 2017, section 3; Pennington et al. 2017,
"Resurrecting the sigmoid", section 2.2). On it the first layers get as much of the gradient as the last ones.
"""

import math
from itertools import pairwise

import numpy as np

from unvanish.core.errors import NothingToDo
from unvanish.theory.activation import Activation
from unvanish.theory.gaussian import moments
from unvanish.theory.mean_field import MeanField

NEAR = 1e-3  # a length from which a stable q* = 0 is come to
LENGTHS = np.geomspace(1e-8, 1e6, 141)  # q* to look between


def at_length(phi: Activation, q: float) -> tuple[float, float]:
    """σ_w² and σ_b² of the critical layer whose length is q; the second may be negative: then there is none."""
    _, square, slope = moments(phi, q)
    weight_var = 1 / slope if slope > 0 else math.inf
    return weight_var, q - weight_var * square


def critical(phi: Activation, bias_var: float = 0.0) -> MeanField:
    """The critical layer of this bias variance, of the smallest q* that there is. Raises `NothingToDo` where none is.

    With σ_b = 0 the limits are known: ReLU and its kind are critical at every q, with σ_w² = 2/(1 + slope²), and an odd
    activation at q* = 0, with σ_w = 1/φ′(0).

    >>> from unvanish.theory import activation
    >>> critical(activation("relu")).weight_var
    2.0
    """
    weight_var, rest = at_length(phi, 1.0)
    if bias_var == 0 and abs(rest) < 1e-12:
        return MeanField(phi, weight_var, 0.0)
    if bias_var == 0 and phi.at_zero == 0 and not phi.kink_at_zero and phi.slope_at_zero:
        linear = MeanField(phi, 1 / phi.slope_at_zero**2, 0.0)
        if linear.length(NEAR) < NEAR:  # GELU's and SiLU's grow: they leave 0
            return linear
    found = _lengths(phi, bias_var)
    if not found:
        raise NothingToDo(
            f"{phi.name} has no critical weights with σ_b² = {bias_var:g}: no length that the signal keeps is one at "
            "which the gradient is kept"
        )
    return MeanField(phi, at_length(phi, found[0])[0], bias_var)


def critical_line(phi: Activation, bias_stds: np.ndarray) -> np.ndarray:
    """σ_w on the critical line for each σ_b; NaN where there is none."""

    def one(std: float) -> float:
        try:
            return math.sqrt(critical(phi, std**2).weight_var)
        except NothingToDo:
            return math.nan

    return np.array([one(float(std)) for std in bias_stds])


def _lengths(phi: Activation, bias_var: float) -> list[float]:
    """The q* at which the critical layer has this bias variance, stable ones only."""

    def excess(q: float) -> float:
        return at_length(phi, q)[1] - bias_var

    values = [excess(q) for q in LENGTHS]
    found = []
    for (low, high), (before, after) in zip(pairwise(LENGTHS), pairwise(values), strict=True):
        if not (np.isfinite(before) and np.isfinite(after)) or before * after > 0:
            continue
        for _ in range(60):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if excess(middle) * before > 0 else (low, middle)
        q = math.sqrt(low * high)
        if MeanField(phi, at_length(phi, q)[0], bias_var).length_slope(q) < 1 + 1e-9:
            found.append(q)
    return found
