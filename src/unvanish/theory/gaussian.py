"""Means over one Gaussian variable, or two correlated ones, of functions with kinks.

Gauss–Legendre rules on panels that end at the kinks and get narrow where the function bends. Gauss–Hermite, the usual
rule, is made for polynomials: at a kink it is off by a percent with sixty nodes.
"""
# P panels, N nodes

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from unvanish.theory.activation import Activation, Array, Function

FAR = 9.0  # standard deviations: beyond it is 2e-19 of the weight
SCALES = (0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # |x| between which activations bend
NODES, NODES_OF_TWO = 16, 10


@lru_cache
def _rule(nodes: int) -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(nodes)


def mean(f: Function, q: float, kinks: tuple[float, ...] = ()) -> float:
    """E f(√q z), z ~ N(0, 1), to about 1e-13 of the mean size of f.

    >>> mean(np.square, 3.0)
    3.0
    """
    if q == 0:
        return float(f(np.zeros(1))[0])
    z_N, weight_N = _line(q, kinks)
    return _rounded(float(f(math.sqrt(q) * z_N) @ weight_N))


def mean_of_two(f: Function, q: float, c: float, kinks: tuple[float, ...] = ()) -> float:
    """E f(u) f(v) of Gaussian u and v, both of mean 0 and variance q, of correlation c."""
    if q == 0:
        return float(f(np.zeros(1))[0]) ** 2
    if 1 - abs(c) < 1e-12:
        sign = math.copysign(1.0, c)
        return mean(lambda x: f(x) * f(sign * x), q, tuple(sorted({*kinks, *(sign * k for k in kinks)})))
    return _rounded(_pairs(f, q, c, kinks))


def _pairs(f: Function, q: float, c: float, kinks: tuple[float, ...]) -> float:
    root, rest = math.sqrt(q), math.sqrt(1 - c * c)
    # the mean over y changes fast, by `rest`, where z crosses a kink
    near = tuple(k + root * rest * far for k in kinks for far in (-8, -4, -2, -1, 1, 2, 4, 8))
    z_N, weight_N = _line(q, (*kinks, *near), NODES_OF_TWO)
    # of the second variable c z + rest y, the panels end where it meets a kink: another y for each z
    bends_B = np.array([*kinks, *_bends(kinks)]) / root
    ends_NP = np.concatenate(
        [np.broadcast_to(np.linspace(-FAR, FAR, 13), (len(z_N), 13)), (bends_B - c * z_N[:, None]) / rest], axis=1
    )
    ends_NP = np.sort(np.clip(ends_NP, -FAR, FAR), axis=1)
    nodes, weights = _rule(NODES_OF_TWO)
    half_NP, middle_NP = np.diff(ends_NP, axis=1) / 2, (ends_NP[:, 1:] + ends_NP[:, :-1]) / 2
    y = middle_NP[..., None] + half_NP[..., None] * nodes
    density = half_NP[..., None] * weights * np.exp(-y * y / 2) / math.sqrt(2 * math.pi)
    inner_N = (f(root * (c * z_N[:, None, None] + rest * y)) * density).sum((1, 2))
    return float((f(root * z_N) * inner_N) @ weight_N)


def _bends(kinks: tuple[float, ...]) -> tuple[float, ...]:
    """Where smooth functions bend: around 0, and on either side of it."""
    return (0.0, *(s for one in SCALES[1::2] for s in (one, -one))) if not kinks else (0.0, 4.0, -4.0)


def _line(q: float, kinks: tuple[float, ...], count: int = NODES) -> tuple[Array, Array]:
    """Nodes and weights over z, with the density in them."""
    return _cached_line(float(q), tuple(kinks), count)


@lru_cache(maxsize=256)
def _cached_line(q: float, kinks: tuple[float, ...], count: int) -> tuple[Array, Array]:
    root = math.sqrt(q)
    inner = [x / root for x in (*kinks, 0.0, *SCALES, *(-s for s in SCALES))]
    usual = np.linspace(-FAR, FAR, 13 if count < NODES else 19)
    ends = np.unique([*usual, *(one for one in inner if abs(one) < FAR)])
    nodes, weights = _rule(count)
    half, middle = np.diff(ends) / 2, (ends[1:] + ends[:-1]) / 2
    z = (middle[:, None] + half[:, None] * nodes).ravel()
    weight = (half[:, None] * weights).ravel() * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return z, weight


def _rounded(value: float) -> float:
    """Without the last digit or two, which are rounding."""
    return float(f"{value:.14g}")


def moments(phi: Activation, q: float) -> tuple[float, float, float]:
    """E φ, E φ² and E φ′², at √q z."""
    squares: list[Callable[[Array], Array]] = [phi.function, lambda x: phi(x) ** 2, lambda x: phi.slope(x) ** 2]
    first, second, slope = (mean(one, q, phi.kinks) for one in squares)
    return first, second, slope
