"""How a signal fares over depth, in one number and the layers that make it.

All are ratios, so nothing here changes when the loss is multiplied by a constant.
"""
# L layers, in forward order

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unvanish.core.reading import Array, Reading

unbounded = np.errstate(over="ignore")  # a ratio beyond the largest number is infinite
TIME_STEPS = 8  # fewer uses of one weight are depth, not time


@dataclass(frozen=True)
class Passage:
    """What becomes of a signal between two layers.

    factor   signal at the far end over the signal at the near end
    layers   those between them
    """

    factor: float
    layers: tuple[str, ...]


@unbounded
def backward_loss(reading: Reading) -> Passage:
    """The worst loss of the backward signal on its way down.

        min over l of   max_{k ≤ l} b_k / max_{k ≥ l} b_k,    b_k = ‖∂loss/∂z_k‖

    The maximum on either side, because the inside of a residual branch may get little where the trunk gets
    enough: the signal is lost only if *every* layer from l down gets little.
    """
    b_L = _measured(reading.backward_norm_L)
    if len(reading) < 2 or not b_L.max(initial=0) > 0:
        return Passage(1.0, ())
    below_L = np.maximum.accumulate(b_L)
    above_L = np.maximum.accumulate(b_L[::-1])[::-1]
    ratio_L = below_L / np.where(above_L > 0, above_L, np.inf)
    worst = int(np.argmin(ratio_L))
    return Passage(float(ratio_L[worst]), _shrinking(reading, b_L, worst))


def _shrinking(reading: Reading, b_L: Array, worst: int) -> tuple[str, ...]:
    """The layers through which the signal shrinks: where b falls markedly faster than on the mean of all."""
    factor_L = reading.backward_factor_L
    with np.errstate(divide="ignore"):
        logs_L = np.log(np.where(np.isnan(factor_L), 1.0, factor_L))
    losing = [index for index, log in enumerate(logs_L) if index < len(logs_L) - 1 and log < np.log(0.75)]
    steep = [index for index in losing if logs_L[index] < 0.35 * np.median(logs_L[losing])] if losing else []
    return tuple(reading.layers[index] for index in steep)


@unbounded
def backward_growth(reading: Reading) -> Passage:
    """How much larger the backward signal is at its largest than at the output layer."""
    b_L = _measured(reading.backward_norm_L)
    near = b_L[-1] if len(b_L) else 0.0
    if len(reading) < 2 or not near > 0:
        return Passage(1.0, ())
    factor_L = reading.backward_factor_L
    layers = tuple(name for name, factor in zip(reading.layers, factor_L, strict=True) if factor > 1.02)
    return Passage(float(b_L.max() / near), layers)


@unbounded
def forward_growth(reading: Reading) -> Passage:
    """How much larger the activations are at their largest than behind the first layer."""
    h_L = _measured(reading.activation_rms_L)
    seen = h_L[h_L > 0]
    if len(seen) < 2:
        return Passage(1.0, ())
    return Passage(float(seen.max() / seen[0]), tuple(reading.layers[1:]))


@unbounded
def growth_over_time(reading: Reading) -> Passage:
    """Of a weight that is used many times in one pass: the largest backward signal over that of the later half."""
    worst = Passage(1.0, ())
    for layer, norms_T in reading.through_time.items():
        largest, late = norms_T.max(initial=0.0), norms_T[len(norms_T) // 2 :].max(initial=0.0)
        if len(norms_T) >= TIME_STEPS and 0 < late < largest and largest > worst.factor * late:
            worst = Passage(float(largest / late) if np.isfinite(late) else float("inf"), (layer,))
    return worst


def left_over_time(reading: Reading) -> Passage:
    """The same weight's backward signal in the earlier half over its largest."""
    worst = Passage(1.0, ())
    for layer, norms_T in reading.through_time.items():
        largest = norms_T.max(initial=0.0)
        early = norms_T[: len(norms_T) // 2].max(initial=0.0)
        if len(norms_T) >= TIME_STEPS and np.isfinite(largest) and early < worst.factor * largest:
            worst = Passage(float(early / largest), (layer,))
    return worst


def typical_factor(reading: Reading, layers: Sequence[str]) -> float:
    """The geometric mean of the backward factor over these layers."""
    at = {name: index for index, name in enumerate(reading.layers)}
    factors = np.array([reading.backward_factor_L[at[name]] for name in layers])
    factors = factors[factors > 0]
    return float(np.exp(np.log(factors).mean())) if len(factors) else 0.0


def _measured(values_L: Array) -> Array:
    return np.where(np.isfinite(values_L), values_L, 0.0)
