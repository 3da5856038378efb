"""Mean-field theory of wide random fully connected networks: what becomes of the length of a signal, and of the angle
between two.

    z^l = W^l φ(z^(l−1)) + b^l,    W_ij ~ N(0, σ_w²/fan_in),    b_i ~ N(0, σ_b²)

Exact where the width is infinite; at width 128 the layers of one network scatter around it by some percent.

References: Poole et al. 2016, "Exponential expressivity in deep neural networks through transient chaos";
Schoenholz et al. 2017, "Deep information propagation".
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from unvanish.core.errors import RecipeError
from unvanish.theory.activation import Activation
from unvanish.theory.gaussian import mean, mean_of_two, moments

STEPS = 20_000  # of a map, to its fixed point: near a critical point they come closer by 1/l only
LONG, SHORT = 1e12, 1e-8  # q beyond which a signal has no fixed length, or vanishes
DEPTH_OF_TRAINING = 6.0  # ξ_c: deeper networks were not trained, Schoenholz et al. 2017, section 5


@final
@dataclass(frozen=True)
class MeanField:
    """Of layers of one kind.

    activation   φ
    weight_var   σ_w²: fan_in times the variance of a weight
    bias_var     σ_b²
    """

    activation: Activation
    weight_var: float
    bias_var: float = 0.0

    def __post_init__(self) -> None:
        if not (self.weight_var >= 0 and self.bias_var >= 0 and math.isfinite(self.weight_var + self.bias_var)):
            raise RecipeError(
                f"variances are finite and not negative, not σ_w² = {self.weight_var:g}, σ_b² = {self.bias_var:g}"
            )

    def length(self, q: float) -> float:
        """q^l = σ_w² E φ(√q^(l−1) z)² + σ_b² (Poole et al. 2016, eq. 3)."""
        return self.weight_var * moments(self.activation, q)[1] + self.bias_var

    def length_slope(self, q: float) -> float:
        """∂q^l/∂q^(l−1) = σ_w² E[φ′² + φ φ″], by parts σ_w² E[z φ φ′]/√q."""
        phi, root = self.activation, math.sqrt(q)
        if q == 0:
            return self.weight_var * phi.slope_at_zero**2 if phi.at_zero == 0 else math.nan
        return self.weight_var * mean(lambda x: x * phi(x) * phi.slope(x), q, phi.kinks) / (root * root)

    @cached_property
    def fixed_length(self) -> float:
        """q*, which the length comes to from q = 1; 0 where the signal vanishes, infinity where it explodes."""
        q = 1.0
        for _ in range(STEPS):
            before, q = q, self.length(q)
            if q > LONG:
                return math.inf
            if q < SHORT:
                return 0.0
            if abs(q - before) <= 1e-12 * q:
                return q
            q = self._ahead(before, q)
        return q if self.length_slope(q) < 1 - 1e-9 else 0.0  # it decreases as 1/l: tanh at σ_w = 1

    def _ahead(self, before: float, q: float) -> float:
        """Steffensen's step: where the map would lead if it were linear; the plain one where that leads astray."""
        third = self.length(q)
        if abs(third - q) >= abs(q - before):  # it leads away, and the step would find where from
            return third
        guess = before - (q - before) ** 2 / (third - 2 * q + before)
        return guess if 0.2 * min(before, third) < guess < 5 * max(before, third) else third

    def correlation(self, c: float, q: float | None = None) -> float:
        """c^l of two signals, both of length q, by default q* (Poole et al. 2016, eq. 5)."""
        q = self._some_length if q is None else q
        both = mean_of_two(self.activation.function, q, c, self.activation.kinks)
        return min(1.0, (self.weight_var * both + self.bias_var) / self.length(q))

    @cached_property
    def fixed_correlation(self) -> float:
        """c*: 1 in the ordered phase, less in the chaotic one; there, nearby inputs are driven apart."""
        if self._slope_at_one <= 1 + 1e-9:
            return 1.0
        low, high = -1.0, 1.0 - 1e-9  # c^l − c is positive below the stable fixed point, negative above it
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.correlation(middle) > middle else (low, middle)
        return (low + high) / 2

    def chi(self, q: float) -> float:
        """σ_w² E φ′(√q z)²: the factor on the squared backward signal at a layer of this length.

        (Schoenholz et al. 2017, eq. 5; at q* it is χ₁, and the signal is kept where that is 1.)
        """
        return self.weight_var * moments(self.activation, q)[2]

    @cached_property
    def chi_1(self) -> float:
        """χ at q*; where that is 0 or infinite, its limit."""
        return self.chi(0.0 if self._is_linear else self._some_length)

    @property
    def _is_linear(self) -> bool:
        """Whether the signal shrinks to where φ is a straight line."""
        return self.fixed_length == 0 and not self.activation.kink_at_zero

    @property
    def _some_length(self) -> float:
        """q*; where that is 0 or infinite, a length near to it."""
        return LONG if math.isinf(self.fixed_length) else self.fixed_length or SHORT

    @property
    def _slope_at_one(self) -> float:
        """Of the correlation map; χ₁ where the length is fixed."""
        if self.weight_var == 0:
            return 0.0  # no signal passes
        if self._is_linear:
            return 1.0
        if self.fixed_length == 0 or math.isinf(self.fixed_length):
            q = self._some_length
            return self.chi_1 * q / self.length(q)
        return self.chi_1

    @property
    def xi_q(self) -> float:
        """Layers over which the length comes nearer to q* by a factor e (Schoenholz et al. 2017, eq. 7)."""
        return _depth(self.length_slope(0.0 if self._is_linear else self._some_length))

    @property
    def xi_c(self) -> float:
        """Layers over which two signals' correlation comes nearer to c* by a factor e (eq. 9)."""
        c, phi = self.fixed_correlation, self.activation
        if c >= 1:
            return _depth(self._slope_at_one)
        return _depth(self.weight_var * mean_of_two(phi.slope, self._some_length, c, phi.kinks))

    @property
    def xi_gradient(self) -> float:
        """Layers over which the squared backward signal changes by a factor e: it vanishes where this is positive,
        explodes where it is negative (eq. 13: 1/ξ_∇ = −log χ₁)."""
        log = math.log(self.chi_1) if self.chi_1 > 0 else -math.inf
        return -1 / log if abs(log) > 1e-9 else math.inf

    @property
    def trainable_depth(self) -> float:
        """6 ξ_c layers: what of two inputs differs is lost beyond it (Schoenholz et al. 2017, section 5).

        Where the length itself vanishes or explodes, 6 |ξ_∇| if that is less.
        """
        lasting = self.fixed_length != 0 and math.isfinite(self.fixed_length)
        return DEPTH_OF_TRAINING * (self.xi_c if lasting else min(self.xi_c, abs(self.xi_gradient)))

    @property
    def phase(self) -> str:
        """'ordered' (χ₁ < 1: gradients vanish), 'critical' or 'chaotic' (they explode)."""
        if abs(self.chi_1 - 1) <= 1e-6:
            return "critical"
        return "ordered" if self.chi_1 < 1 else "chaotic"

    def lengths(self, q: float, depth: int) -> list[float]:
        """q of the next `depth` layers, from a first pre-activation of second moment q, itself the first of them."""
        found = [q]
        while len(found) < depth:
            found.append(self.length(found[-1]) if found[-1] < LONG else math.inf)
        return found

    def __repr__(self) -> str:
        return f"MeanField({self.activation.name}, σ_w² = {self.weight_var:.4g}, σ_b² = {self.bias_var:.4g})"


def _depth(slope: float) -> float:
    """1/ξ = −log |slope|."""
    log = np.log(abs(slope)) if slope else -math.inf
    return float(-1 / log) if abs(log) > 1e-9 else math.inf
