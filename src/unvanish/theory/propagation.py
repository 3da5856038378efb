"""What comes through a given network, layer by layer: predicted RMS of activations and backward signals.

Two numbers are followed forward, means over units and inputs: the second moment of a pre-activation, and the mean
product of two inputs' pre-activations, which they share. What differs between inputs is their difference.

    q^l = σ² fan_in E h² + σ_b²,    r^l = σ² fan_in E h h′ + σ_b²,    E h² = E φ(√q z)²,    E h h′ = E φ(u) φ(v)

A bias that is centred, b = −W E h, leaves q^l = σ² fan_in (E h² − E h h′) and r^l = 0.

Backward, with independent weights (Schoenholz et al. 2017, eq. 12), where n^l is the width:

    E δ_l² = E φ′(√q z)² · n^(l+1) σ² · E δ_(l+1)²/v_(l+1),    δ = ∂loss/∂z

v = 1 without normalisation. Batch norm divides by v = q − r, the variance over the batch; its δ is that of the
normalised z (Yang et al. 2019, "A mean field theory of batch normalization": for ReLU the factor is π/(π − 1), 1.21 a
layer in RMS). Layer norm divides by v = q, and so does one mean and one std over the whole tensor, which
leaves what the inputs share.

A residual branch adds its second moment to that of what passes it by, and its gradient likewise (Yang & Schoenholz
2017, "Mean field residual networks", eqs. 5 and 9). Where theory says nothing: attention, convolutions with strides or
few channels, dropout, weights that are trained or not drawn independently (orthogonal ones keep to it in the mean).
"""
# L layers

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import final

import numpy as np

from unvanish.core.errors import RecipeError
from unvanish.theory.activation import Activation, Array
from unvanish.theory.gaussian import mean_of_two, moments


class Normalise(Enum):
    NOTHING = "nothing"
    BATCH = "each unit over the batch"
    LAYER = "each sample over its units"
    TENSOR = "the whole tensor"


@final
@dataclass(frozen=True)
class Signal:
    """What two inputs are like: the mean of x², of x x′ for two different ones, and of x.

    >>> import numpy as np
    >>> Signal.of(np.array([[1.0, 1.0], [1.0, -1.0]]))
    Signal(square=1.0, product=0.0, mean=0.5)
    """

    square: float
    product: float
    mean: float = 0.0

    @classmethod
    def of(cls, x_ND: Array) -> "Signal":
        """Of a batch, [samples, features]."""
        x_ND = np.asarray(x_ND, dtype=np.float64).reshape(len(x_ND), -1)
        count = len(x_ND)
        square, common = float((x_ND**2).mean()), float((x_ND.mean(0) ** 2).mean())
        product = (common * count - square) / (count - 1) if count > 1 else square
        return cls(square, product, float(x_ND.mean()))

    @property
    def spread(self) -> float:
        """RMS of what differs between inputs."""
        return math.sqrt(max(0.0, self.square - self.product))


@final
@dataclass(frozen=True)
class Layer:
    """A weight layer, what normalises behind it, its activation (`None` for an output layer).

    weight_std    of its weights, as they are
    bias_second   E b²
    centred       its bias takes out what the inputs share
    """

    fan_in: int
    fan_out: int
    weight_std: float
    activation: Activation | None
    bias_second: float = 0.0
    normalise: Normalise = Normalise.NOTHING
    centred: bool = False


Branch = tuple[int, int]  # the output of layer a is added to that of layer b, counted from 0


@final
@dataclass(frozen=True)
class Prediction:
    """By layer; `backward_rms` is relative to the last layer's.

    pre_activation_rms  behind the normalisation
    activation_rms      behind the activation, without what a skip adds
    spread              RMS of what differs between inputs, of the activation
    """

    pre_activation_rms: Array
    activation_rms: Array
    spread: Array
    backward_rms: Array


def predicted(layers: Sequence[Layer], inputs: Signal, skips: Sequence[Branch] = ()) -> Prediction:
    """The profile of a network at its initial weights.

    Raises `RecipeError` for skips that lead nowhere.
    """
    for a, b in skips:
        if not 0 <= a < b < len(layers):
            raise RecipeError(f"no skip from layer {a} to {b}: there are {len(layers)} layers, counted from 0")
    if not layers:
        raise RecipeError("a network has at least one layer")
    passes, given = [], inputs
    sums: list[Signal] = []
    for number, layer in enumerate(layers):
        passes.append(_forward(layer, given))
        given = passes[-1].output
        for a, b in skips:
            if b == number:
                given = _added(given, sums[a])
        sums.append(given)
    return Prediction(
        np.array([math.sqrt(one.q) for one in passes]),
        np.array([math.sqrt(one.output.square) for one in passes]),
        np.array([one.output.spread for one in passes]),
        _backward(layers, passes, skips),
    )


@dataclass(frozen=True)
class _Pass:
    q: float
    slope: float  # E φ′²
    divided: float  # by what the normalisation divided, squared
    output: Signal


def _forward(layer: Layer, given: Signal) -> _Pass:
    factor = layer.fan_in * layer.weight_std**2
    q = factor * (given.square - given.product) if layer.centred else factor * given.square + layer.bias_second
    r = 0.0 if layer.centred else factor * given.product + layer.bias_second
    divided = {
        Normalise.NOTHING: 1.0,
        Normalise.BATCH: max(q - r, 1e-300),
        Normalise.LAYER: max(q, 1e-300),
        Normalise.TENSOR: max(q, 1e-300),
    }[layer.normalise]
    q, r = (1.0, 0.0) if layer.normalise is Normalise.BATCH else (q / divided, r / divided)
    if not math.isfinite(q):
        return _Pass(math.inf, math.nan, divided, Signal(math.inf, math.nan, math.nan))
    phi = layer.activation
    if phi is None:
        return _Pass(q, 1.0, divided, Signal(q, r))
    first, square, slope = moments(phi, q)
    c = min(1.0, max(-1.0, r / q)) if q else 1.0
    return _Pass(q, slope, divided, Signal(square, mean_of_two(phi.function, q, c, phi.kinks), first))


def _added(one: Signal, other: Signal) -> Signal:
    """Of independent weights: the means alone go together."""
    both = 2 * one.mean * other.mean
    return Signal(one.square + other.square + both, one.product + other.product + both, one.mean + other.mean)


def _backward(layers: Sequence[Layer], passes: Sequence[_Pass], skips: Sequence[Branch]) -> Array:
    """RMS of the gradient behind each normalisation, of one unit, over the last layer's."""
    last = len(layers) - 1
    at_sum = np.zeros(len(layers))  # squared, of the sum behind each layer
    at_z = np.zeros(len(layers))
    at_sum[last] = 1.0
    for number in range(last, -1, -1):
        if number < last:
            after = layers[number + 1]
            at_sum[number] += after.fan_out * after.weight_std**2 * at_z[number + 1] / passes[number + 1].divided
        for a, b in skips:
            if b == number:
                at_sum[a] += at_sum[number]
        at_z[number] = at_sum[number] * passes[number].slope
    return np.sqrt(at_z / at_z[last])
