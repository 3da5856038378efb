"""Centred critical layers: each acts on what differs between inputs, not on what they have in common.

    z^(l+1) = W (φ(z^l) − m),  that is b = −m W·1,    m = E φ(√q z)

An activation that is not 0 at 0, as the sigmoid, sends a signal through every layer that all inputs share: with
σ_w² = 16, at which its slope of 1/4 would keep the gradient, the shared ½ alone drives it into saturation. Subtracted
by the bias, it is gone, and the layer is a critical tanh layer: W orthogonal of gain 1/|φ′(0)|, 4 for the sigmoid,
b = −½ W·1. We know of no publication of it; for odd activations it is the orthogonal critical initialisation of Saxe
et al. 2014 and Pennington et al. 2017.

Critical at q* = 0. At a finite length, of the gain g:

    q^(l+1) = g² Var φ(√q z),    χ = g² E φ′(√q z)²,    and Var φ(√q z) ≤ q E φ′(√q z)²

(the Poincaré inequality, equal only for affine φ), so the gradient and the length cannot both be kept.
"""

import math
from dataclasses import dataclass
from typing import final

from unvanish.core.errors import NothingToDo
from unvanish.theory.activation import Activation
from unvanish.theory.gaussian import moments


@final
@dataclass(frozen=True)
class Centred:
    """A layer behind a pre-activation of length q.

    mean    m = E φ: what its bias subtracts
    gain    g, of an orthogonal W, or σ_w
    length  q of the next pre-activation, g² Var φ
    chi     the factor on the squared backward signal, g² E φ′²
    """

    q: float
    mean: float
    gain: float
    length: float
    chi: float


def centred(phi: Activation, q: float, gain: float | None = None) -> Centred:
    """The centred layer behind a pre-activation of second moment q.

    gain   g; without one, that which keeps the gradient at this length, 1/√E φ′², and at q = 0 is 1/|φ′(0)|

    Raises `NothingToDo` for ReLU and its kind: they have no linear range at 0, and He's weights keep both already.

    >>> from unvanish.theory import activation
    >>> layer = centred(activation("sigmoid"), q=0.0)
    >>> layer.gain, layer.mean
    (4.0, 0.5)
    """
    if phi.kink_at_zero:
        raise NothingToDo(f"{phi.name} has no linear range around 0; use He's initialisation (kaiming_normal_)")
    if not phi.slope_at_zero:
        raise NothingToDo(f"{phi.name} is flat at 0: no gain keeps its gradient")
    mean, square, slope = moments(phi, q)
    g = 1 / math.sqrt(slope) if gain is None else gain
    return Centred(q, mean, g, g * g * max(0.0, square - mean * mean), g * g * slope)


def profile(phi: Activation, q: float, depth: int, gain: float | None = None) -> list[Centred]:
    """The layers behind each of `depth` pre-activations, the first of length q: what each keeps and loses."""
    found = []
    for _ in range(depth):
        found.append(centred(phi, q, gain))
        q = found[-1].length
    return found
