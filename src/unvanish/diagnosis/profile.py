"""How a signal fares over depth, in one number and the layers that make it.

All are ratios, so nothing here changes when the loss is multiplied by a constant.
"""
# L layers, in forward order

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from unvanish.core.table import Array, Table
from unvanish.diagnosis.examination import Examination

unbounded = np.errstate(over="ignore")  # a ratio beyond the largest number is infinite
TIME_STEPS = 8  # fewer uses of one weight are depth, not time
EXPLAINED = 0.8  # of the logarithm of a loss: what is called most of it
ALIKE = 0.5  # of the span's mean drop a layer: a neighbour that loses as much as that belongs to it
CUT = 1e-30  # 8 orders over the smallest float32: from there to 0 in one layer is no rounding, but a cut


@dataclass(frozen=True)
class Passage:
    """What becomes of a signal between two layers.

    factor   signal at the far end over the signal at the near end
    layers   the shortest run of layers that explains most of it
    at       the layer at the far end
    usual    the factor of one layer, where so little is left that the whole one is measured as 0
    """

    factor: float
    layers: tuple[str, ...]
    at: str = ""
    usual: float = field(default=0.0, compare=False)

    @property
    def per_layer(self) -> float:
        """The geometric mean over its layers."""
        if not self.layers:
            return 1.0
        return self.factor ** (1 / len(self.layers)) if self.factor > 0 else self.usual


@unbounded
def backward_loss(table: Table) -> Passage:
    """The worst loss of the backward signal on its way down.

        min over l of   max_{k ≤ l} b_k / max_{k ≥ l} b_k,    b_k = ‖∂loss/∂z_k‖

    The maximum on either side, because the inside of a residual branch may get little where the trunk gets
    enough: the signal is lost only if *every* layer from l down gets little.
    """
    b_L = _measured(table.row("backward_norm"))
    if len(table) < 2 or not b_L.max(initial=0) > 0:
        return Passage(1.0, ())
    below_L = np.maximum.accumulate(b_L)
    above_L = np.maximum.accumulate(b_L[::-1])[::-1]
    ratio_L = below_L / np.where(above_L > 0, above_L, np.inf)
    worst = int(np.argmin(ratio_L))
    top = worst + int(np.argmax(b_L[worst:]))
    drops = np.diff(_logs(below_L[worst : top + 1]))  # of layer l: what is lost from l + 1 to it
    start, stop = _span(drops)
    layers, factor = table.layers[worst + start : worst + stop], float(ratio_L[worst])
    usual = float(np.exp(-drops[start:stop].mean())) if layers else 1.0
    return Passage(factor, layers, table.layers[worst], usual)


def _logs(values_L: Array) -> Array:
    """Logarithms of a signal that may end in zeros at its front.

    Zeros behind a signal that was almost as small as float32 can be are taken to go on as it went before: nobody
    knows how. Behind a larger one they are a cut, larger than any other loss.
    """
    seen = np.flatnonzero(values_L > 0)
    logs = np.log(np.where(values_L > 0, values_L, 1.0))
    if not len(seen) or len(seen) == len(values_L):
        return logs
    first, last = seen[0], len(values_L) - 1
    slope = (logs[last] - logs[first]) / max(1, last - first)
    if values_L[first] > CUT or slope <= 0:
        logs[:first] = -1e3  # no float64 is as small
    else:
        logs[:first] = logs[first] - slope * np.arange(first, 0, -1)
    return logs


def _span(drops: Array) -> tuple[int, int]:
    """The shortest run of drops that makes up most of their sum, and the neighbours that drop like it."""
    total = drops.sum()
    if not total > 0:
        return 0, 0
    sums = np.concatenate([[0.0], np.cumsum(drops)])
    start, stop = min(
        (
            (start, int(np.searchsorted(sums, sums[start] + EXPLAINED * total - 1e-9 * total)))
            for start in range(len(drops))
            if sums[-1] - sums[start] >= EXPLAINED * total - 1e-9 * total
        ),
        key=lambda span: (span[1] - span[0], span[0]),
    )
    usual = (sums[stop] - sums[start]) / (stop - start)
    while start > 0 and drops[start - 1] >= ALIKE * usual:
        start -= 1
    while stop < len(drops) and drops[stop] >= ALIKE * usual:
        stop += 1
    return start, stop


@unbounded
def backward_growth(table: Table) -> Passage:
    """How much larger the backward signal is at its largest than at the output layer."""
    b_L = _measured(table.row("backward_norm"))
    near = b_L[-1] if len(b_L) else 0.0
    if len(table) < 2 or not near > 0:
        return Passage(1.0, ())
    far = int(np.argmax(b_L))
    logs = _logs_of_what_is_there(b_L[far:])
    start, stop = _span(np.maximum(-np.diff(logs), 0.0))
    return Passage(float(b_L.max() / near), table.layers[far + start : far + stop], table.layers[far])


def _logs_of_what_is_there(values_L: Array) -> Array:
    """A zero within is the inside of a branch, and no fall: it counts as the smallest of the others."""
    return np.log(np.maximum(values_L, values_L[values_L > 0].min()))


@unbounded
def forward_growth(table: Table) -> Passage:
    """How much larger the activations are at their largest than behind the first layer; the output does not count."""
    h_L = _measured(table.row("activation_rms"))[:-1]
    seen = np.flatnonzero(h_L > 0)
    if len(seen) < 2:
        return Passage(1.0, ())
    near, far = int(seen[0]), int(np.argmax(h_L))
    logs = _logs_of_what_is_there(h_L[near : far + 1])
    start, stop = _span(np.maximum(np.diff(logs), 0.0))
    layers = table.layers[near + start + 1 : near + stop + 1]
    return Passage(float(h_L[far] / h_L[near]), layers, table.layers[far])


@unbounded
def growth_over_time(table: Table) -> Passage:
    """Of a weight that is used many times in one pass: the largest backward signal over that of the later half."""
    worst = Passage(1.0, ())
    for layer, norms_T in table.over_calls.items():
        largest, late = norms_T.max(initial=0.0), norms_T[len(norms_T) // 2 :].max(initial=0.0)
        if len(norms_T) >= TIME_STEPS and 0 < late < largest and largest > worst.factor * late:
            worst = Passage(float(largest / late) if np.isfinite(late) else float("inf"), (layer,), layer)
    return worst


def left_over_time(table: Table) -> Passage:
    """The same weight's backward signal in the earlier half over its largest."""
    worst = Passage(1.0, ())
    for layer, norms_T in table.over_calls.items():
        largest = norms_T.max(initial=0.0)
        early = norms_T[: len(norms_T) // 2].max(initial=0.0)
        if len(norms_T) >= TIME_STEPS and np.isfinite(largest) and early < worst.factor * largest:
            worst = Passage(float(early / largest), (layer,), layer)
    return worst


def saturating(table: Table) -> bool:
    """Whether its activations saturate on both sides, as sigmoid and tanh do."""
    return not np.isnan(table.row("saturated")).all()


def skips_over(table: Table) -> tuple[tuple[int, int], ...]:
    """Skips over every second hidden layer of the network: (1, 3), (3, 5), …"""
    hidden = len(table) - 1
    return tuple((layer, layer + 2) for layer in range(1, hidden - 1, 2))


def _measured(values_L: Array) -> Array:
    return np.where(np.isfinite(values_L), values_L, 0.0)


def contrast(table: Table) -> Array:
    """How much of what a layer hands on tells one input from another, [L]: √mean (h − h̄)² over √mean h²."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return table.row("spread") / table.row("activation_rms")


MOST_DEAD = 0.7  # of a layer's units, or more in a narrow one
CHANCE = 4.0  # standard deviations of a binomial: one in 30,000
LITTLE = 0.02  # of a backward signal: the most that UV001 calls vanishing
DEVIATIONS = 3.0  # one network in 700 loses more
DIFFERS = 0.03  # the contrast under which a layer's input counts as one for all samples (UV002)


def dead_layers(table: Table) -> Array:
    """The dead fraction of each rectified layer, [L]; 0 where it says nothing: see UV004's limitations."""
    dead_L, contrast_L = table.row("dead").copy(), contrast(table)
    dead_L[~np.isnan(table.row("saturated"))] = np.nan  # bounded at both sides
    before, blocked = np.inf, _is_blocked(table)
    for index, layer in enumerate(table.layers):
        units = table.units.get(layer, 0)
        by_chance = 0.5 + CHANCE * 0.5 / units**0.5 if units and not blocked else 0.0  # half, if all inputs were one
        if dead_L[index] < min(by_chance, 1.0) or (before < DIFFERS and dead_L[index] < 1):
            dead_L[index] = 0.0
        if np.isfinite(contrast_L[index]):
            before = contrast_L[index]
    return dead_L


def _is_blocked(table: Table) -> bool:
    """Whether the backward signal is lost as it can be at critical weights by narrow layers of ReLUs alone.

        ln ‖∂loss/∂z_1‖ / ‖∂loss/∂z_L‖ ~ N(−β/4, β/4),    β = 5 Σ 1/n_l,  n_l units of layer l

    (Hanin & Nica 2020, theorem 1). What is lost far beyond that is lost by the size of the weights.
    """
    rectified = np.isfinite(table.row("dead")) & np.isnan(table.row("saturated"))
    units = [table.units.get(layer, 0) for layer, is_so in zip(table.layers, rectified, strict=True) if is_so]
    if not units or not all(units):
        return False
    quarter = 5 / 4 * sum(1 / n for n in units)
    left = backward_loss(table).factor
    return bool(np.exp(-quarter - DEVIATIONS * quarter**0.5) <= left < LITTLE)


def dead_only_at_this_scale(seen: Examination) -> bool:
    """Most units of a layer are dead for these inputs, and not for stronger ones: others may wake them."""
    if seen.stronger is None:
        return False
    now = np.nan_to_num(dead_layers(seen.table), nan=0.0).max(initial=0.0)
    then = np.nan_to_num(seen.stronger.row("dead"), nan=0.0).max(initial=0.0)
    return bool(now >= MOST_DEAD > then)


def listed(names: Sequence[str], most: int = 3) -> str:
    """`layer a`, or `5 layers (a, b, c …)`."""
    shown = ", ".join(names[:most]) + (" …" if len(names) > most else "")
    return f"layer {shown}" if len(names) == 1 else f"{len(names)} layers ({shown})"
