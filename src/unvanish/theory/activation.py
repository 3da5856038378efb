"""The elementwise activations of `torch.nn` as functions of NumPy arrays, with their slopes and their kinks.

A kink is where φ or φ′ is not smooth: integrals are split there. Where φ′ jumps it has the value that torch gives it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from unvanish.core.errors import RecipeError, did_you_mean

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

_erf_of = np.frompyfunc(math.erf, 1, 1)
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017, eq. 14
GELU_INNER = math.sqrt(2 / math.pi)  # of its approximation by tanh, Hendrycks & Gimpel 2016


@final
@dataclass(frozen=True, eq=False)
class Activation:
    """φ, its slope φ′, and the x at which one of them is not smooth, in ascending order.

    >>> relu = activation("relu")
    >>> relu(np.array([1.0, 2.0])).tolist(), relu.slope(np.array([-1.0, 2.0])).tolist(), relu.kinks
    ([1.0, 2.0], [0.0, 1.0], (0.0,))
    """

    name: str
    function: Function
    slope: Function
    kinks: tuple[float, ...] = ()

    def __call__(self, x: Array) -> Array:
        return self.function(x)

    def shifted(self, by: float) -> "Activation":
        """φ − by."""
        return replace(self, name=f"{self.name} − {by:.3g}", function=lambda x: self.function(x) - by)

    @property
    def at_zero(self) -> float:
        return float(self.function(np.zeros(1))[0])

    @property
    def slope_at_zero(self) -> float:
        return float(self.slope(np.zeros(1))[0])

    @property
    def kink_at_zero(self) -> bool:
        """Whether the slope is another on the two sides of 0, as ReLU's is: it has no linear range there."""
        near = self.slope(np.array([-1e-9, 1e-9]))
        return bool(abs(near[1] - near[0]) > 1e-6)

    def __repr__(self) -> str:
        return f"Activation({self.name})"


def erf(x: Array) -> Array:
    return np.asarray(_erf_of(x), dtype=np.float64)


def _logistic(x: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def _bell(x: Array) -> Array:
    """The slope of the logistic function."""
    s = _logistic(x)
    return s * (1 - s)


def _density(x: Array) -> Array:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _between(low: float, high: float) -> Function:
    return lambda x: ((x > low) & (x < high)).astype(np.float64)


def _elu(name: str, alpha: float, scale: float = 1.0, width: float = 1.0) -> Activation:
    """scale · x above 0, scale · alpha (e^(x/width) − 1) below."""

    def function(x: Array) -> Array:
        return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / width))

    def slope(x: Array) -> Array:
        return scale * np.where(x > 0, 1.0, alpha / width * np.exp(np.minimum(x, 0) / width))

    return Activation(name, function, slope, (0.0,))


def _leaky(name: str, below: float) -> Activation:
    return Activation(name, lambda x: np.where(x > 0, x, below * x), lambda x: np.where(x > 0, 1.0, below), (0.0,))


def _clipped(name: str, low: float, high: float) -> Activation:
    return Activation(name, lambda x: np.clip(x, low, high), _between(low, high), (low, high))


def _gelu(approximate: str) -> Activation:
    if approximate == "none":

        def function(x: Array) -> Array:
            return x * 0.5 * (1 + erf(x / math.sqrt(2)))

        def slope(x: Array) -> Array:
            return 0.5 * (1 + erf(x / math.sqrt(2))) + x * _density(x)

        return Activation("GELU", function, slope)

    def by_tanh(x: Array) -> Array:
        return 0.5 * x * (1 + np.tanh(GELU_INNER * (x + 0.044715 * x**3)))

    def its_slope(x: Array) -> Array:
        t = np.tanh(GELU_INNER * (x + 0.044715 * x**3))
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * GELU_INNER * (1 + 3 * 0.044715 * x * x)

    return Activation("GELU", by_tanh, its_slope)


def _mish_slope(x: Array) -> Array:
    t = np.tanh(_softplus(x))
    return t + x * (1 - t * t) * _logistic(x)


def _hardswish_slope(x: Array) -> Array:
    return np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, (2 * x + 3) / 6))


def _of_beta(beta: float) -> Activation:
    return Activation("Softplus", lambda x: _softplus(beta * x) / beta, lambda x: _logistic(beta * x))


ACTIVATIONS: dict[str, Callable[..., Activation]] = {
    "Identity": lambda: Activation("Identity", lambda x: x * 1.0, np.ones_like),
    "Sigmoid": lambda: Activation("Sigmoid", _logistic, _bell),
    "Tanh": lambda: Activation("Tanh", np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "Erf": lambda: Activation("Erf", erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x)),
    "ReLU": lambda: _leaky("ReLU", 0.0),
    "LeakyReLU": lambda negative_slope=0.01: _leaky("LeakyReLU", negative_slope),
    "RReLU": lambda lower=1 / 8, upper=1 / 3: _leaky("RReLU", (lower + upper) / 2),  # as it is in eval()
    "PReLU": lambda init=0.25, num_parameters=1: _leaky("PReLU", init),  # as it starts
    "ELU": lambda alpha=1.0: _elu("ELU", alpha),
    "CELU": lambda alpha=1.0: _elu("CELU", alpha, width=alpha),
    "SELU": lambda: _elu("SELU", SELU_ALPHA, SELU_SCALE),
    "GELU": lambda approximate="none": _gelu(approximate),
    "SiLU": lambda: Activation("SiLU", lambda x: x * _logistic(x), lambda x: _logistic(x) + x * _bell(x)),
    "Mish": lambda: Activation("Mish", lambda x: x * np.tanh(_softplus(x)), _mish_slope),
    "Softplus": lambda beta=1.0, threshold=20.0: _of_beta(beta),  # above the threshold torch gives x: within 2e-9
    "Softsign": lambda: Activation("Softsign", lambda x: x / (1 + abs(x)), lambda x: (1 + abs(x)) ** -2.0, (0.0,)),
    "LogSigmoid": lambda: Activation("LogSigmoid", lambda x: -_softplus(-x), lambda x: _logistic(-x)),
    "Tanhshrink": lambda: Activation("Tanhshrink", lambda x: x - np.tanh(x), lambda x: np.tanh(x) ** 2),
    "Hardtanh": lambda min_val=-1.0, max_val=1.0: _clipped("Hardtanh", min_val, max_val),
    "ReLU6": lambda: _clipped("ReLU6", 0.0, 6.0),
    "Hardsigmoid": lambda: Activation(
        "Hardsigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda x: _between(-3, 3)(x) / 6, (-3.0, 3.0)
    ),
    "Hardswish": lambda: Activation(
        "Hardswish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1), _hardswish_slope, (-3.0, 3.0)
    ),
}


def activation(name: str, **options: Any) -> Activation:
    """An activation by its name in `torch.nn`, in any case, or `Identity` or `Erf`; with its own keyword arguments.

    Raises `RecipeError` where theory does not know it.

    >>> activation("sigmoid").slope_at_zero
    0.25
    """
    known = {one.lower(): one for one in ACTIVATIONS}
    if name.lower() not in known:
        raise RecipeError(
            f"theory does not know the activation '{name}'{did_you_mean(name, ACTIVATIONS)}; it knows "
            + ", ".join(ACTIVATIONS)
        )
    options.pop("inplace", None)
    try:
        return ACTIVATIONS[known[name.lower()]](**options)
    except TypeError as error:
        raise RecipeError(f"{known[name.lower()]} cannot be made with {options}: {error}") from error
