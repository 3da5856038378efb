"""A reading: what was measured of every layer, in forward order, as plain numbers."""
# L layers, in forward order

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """One number for each layer and quantity; NaN where it was not measured or has no meaning.

    What was measured as NaN or infinite is ∞.

    activation_rms_L   √ mean h² of what the layer hands on
    spread_L           √ mean (h − h̄)², h̄ the mean over the batch: what of h tells one input from another
    backward_norm_L    ‖∂loss/∂z‖ over the whole batch, z the layer's product: the signal that comes back
    backward_rms_L     the same as √ mean
    gradient_norm_L    ‖∂loss/∂W‖
    update_ratio_L     ‖ΔW‖ / ‖W‖ of one optimizer step
    saturated_L        fraction of a bounded activation's values in its flat ends
    dead_L             fraction of units that pass no gradient for any input seen
    through_time       for a layer that is used many times in one pass: its backward norm at each use
    """

    layers: tuple[str, ...]
    activation_rms_L: Array
    spread_L: Array
    backward_norm_L: Array
    backward_rms_L: Array
    gradient_norm_L: Array
    update_ratio_L: Array
    saturated_L: Array
    dead_L: Array
    through_time: dict[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def forward_factor_L(self) -> Array:
        """By what the signal that tells inputs apart grows from one layer to the next; the first has none."""
        return _factors(self.spread_L)

    @property
    def backward_factor_L(self) -> Array:
        """By what the backward signal grows on its way from the next layer down to this one; the last has none."""
        return _factors(self.backward_norm_L[::-1])[::-1]


QUANTITIES = tuple(item.name for item in fields(Reading) if item.name.endswith("_L"))


def _factors(values_L: Array) -> Array:
    """Each value over the one before it that was measured."""
    factors_L = np.full(len(values_L), np.nan)
    before = np.nan
    for index, value in enumerate(values_L):
        if np.isfinite(value):
            with np.errstate(over="ignore"):  # a factor beyond the largest number is infinite
                factors_L[index] = value / before if before > 0 else np.nan
            before = value
    return factors_L


def mean_reading(readings: Sequence[Reading]) -> Reading:
    """The mean of several readings of the same network; a layer that some lack is taken from the others.

    Norms and ratios are averaged as they are, fractions too; NaN counts nowhere.
    """
    names = max((reading.layers for reading in readings), key=len)
    columns = {name: np.full((len(readings), len(names)), np.nan) for name in QUANTITIES}
    times: dict[str, list[Array]] = {}
    for row, reading in enumerate(readings):
        at = {layer: index for index, layer in enumerate(reading.layers)}
        for column, layer in enumerate(names):
            if layer in at:
                for name in QUANTITIES:
                    columns[name][row, column] = getattr(reading, name)[at[layer]]
        for layer, values in reading.through_time.items():
            times.setdefault(layer, []).append(values)
    means = {name: _nanmean(values) for name, values in columns.items()}
    through = {layer: _nanmean(np.stack(rows)) for layer, rows in times.items() if len({len(row) for row in rows}) == 1}
    return Reading(names, **means, through_time=through)


def _nanmean(values: Array) -> Array:
    counted = ~np.isnan(values)
    total = np.where(counted, values, 0).sum(0)
    return np.where(counted.any(0), total / np.maximum(counted.sum(0), 1), np.nan)
