"""A tensor on its way through a layer, as quantities see it: its moments, of one use of the layer or of several."""
# R runs (none in front where a run is alone), B batch, U units

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from unvanish.measure.moments import Number, hypot, norm, number, single
from unvanish.measure.region import EVERYWHERE, Region


class Signal(Protocol):
    """Moments over all elements, batch and units alike: one number, or one for each of several steps or runs.

    `None` where a moment was not taken or has no meaning.
    """

    @property
    def mean(self) -> Number | None: ...

    @property
    def std(self) -> Number | None:
        """The biased one."""
        ...

    @property
    def norm(self) -> Number | None: ...

    @property
    def rms(self) -> Number | None: ...

    @property
    def spread(self) -> Number | None:
        """√ mean (x − x̄)², x̄ the mean over the batch: what of it differs from sample to sample."""
        ...

    @property
    def saturated(self) -> Number | None:
        """The fraction of the elements outside of a region that is bounded at both sides."""
        ...

    @property
    def dead(self) -> Number | None:
        """The fraction of the units that are outside of the region, at one side, for the whole batch."""
        ...


@dataclass(frozen=True, eq=False)
class Moments:
    """A `Signal` of so many elements; `dead_U` are the booleans of the units."""

    size: int
    norm: Number | None = None
    mean: Number | None = None
    std: Number | None = None
    spread: Number | None = None
    saturated: Number | None = None
    dead_U: Tensor | None = None

    @property
    def rms(self) -> Number | None:
        return None if self.norm is None else self.norm / max(self.size, 1) ** 0.5

    @property
    def dead(self) -> Number | None:
        return None if self.dead_U is None else number(self.dead_U.float().mean(-1), self.dead_U.dim() - 1)


def moments(values: Tensor, *, lead: int = 0, batch: bool = False) -> Moments:
    """All moments of a tensor, for each of its first `lead` dimensions. `batch`: what follows them is a batch.

    A mean is subtracted before anything is squared: E[x²] − E[x]² cancels where all elements are close to each other.
    With x̄ the mean over the batch, Var[x] = E[(x − x̄)²] + Var[x̄].
    """
    values = torch.view_as_real(values.detach()) if values.is_complex() else values.detach()
    values = single(values if values.dim() > lead else values.unsqueeze(-1))
    flat = values.flatten(lead)
    mean = flat.mean(-1, keepdim=True)
    if batch and values.dim() > lead + 1 and values.shape[lead] > 1:
        average, centred = _around_the_batch(values, lead)
        spread = _root_mean_square(centred, lead)
        std = hypot(spread, _root_mean_square(average.flatten(lead) - mean, lead))
    else:
        spread, std = None, _root_mean_square(flat - mean, lead)
    return Moments(_count(values, lead), norm(values, lead), number(mean.squeeze(-1), lead), std, spread)


def size(values: Tensor, *, lead: int = 0) -> Moments:
    """The norm alone."""
    values = values.detach()
    return Moments(_count(values, lead), norm(values, lead))


def spread_over_batch(values: Tensor, lead: int = 0) -> Number:
    """√ mean (x − x̄)², x̄ the mean over the batch, the first dimension after `lead`."""
    return _root_mean_square(_around_the_batch(values, lead)[1], lead)


def _around_the_batch(values: Tensor, lead: int) -> tuple[Tensor, Tensor]:
    """x̄, as a batch of one, and x − x̄. Sample 0 is subtracted first: the mean of large and close numbers is rounded."""
    sample = values[(slice(None),) * lead + (slice(1),)]
    moved = values - sample
    average = moved.mean(lead, keepdim=True)
    return sample + average, moved.sub_(average)


def _root_mean_square(values: Tensor, lead: int) -> Number:
    return norm(values, lead) / max(1, _count(values, lead)) ** 0.5


def _count(values: Tensor, lead: int) -> int:
    return values.numel() if lead == 0 else values.shape[lead:].numel()


def saturated_share(z: Tensor, region: Region, lead: int = 0) -> Number | None:
    """The fraction of z outside of a bounded region: half of a healthy ReLU layer is on its flat side.

    NaN where z holds NaN, which is on no side.
    """
    if not region.two_sided:
        return None
    within = z.clamp(region.low, region.high)
    unknown = within.flatten(lead).mean(-1) * 0  # 0, or NaN
    moved = within.sub_(z)  # 0 but for the saturated ones
    # signs are floats: a mask of booleans takes three times as long to make and to count
    return number(moved.sign_().square_().flatten(lead).mean(-1) + unknown, lead)


def dead_units(z: Tensor, region: Region, unit_axis: int, lead: int = 0) -> Tensor | None:
    """For each unit of z, whether all samples of the batch fall on the same flat side: booleans, [R, U]."""
    if region == EVERYWHERE:
        return None
    batch = tuple(axis for axis in range(lead, z.dim()) if axis != unit_axis)  # and positions
    below = z.amax(batch) <= region.low if region.low > float("-inf") else None
    above = z.amin(batch) >= region.high if region.high < float("inf") else None
    return above if below is None else below if above is None else below | above


def pooled(parts: Sequence[Moments]) -> Moments | None:
    """The moments of all parts together; a unit is dead if it is in all of them."""
    if len(parts) < 2:
        return parts[0] if parts else None
    sizes, count = [part.size for part in parts], sum(part.size for part in parts)

    def mean_of(name: str, power: int = 1) -> Tensor | None:
        pairs = [(getattr(part, name), size) for part, size in zip(parts, sizes, strict=True)]
        known = [(_double(value) ** power, size) for value, size in pairs if value is not None]
        whole = sum(size for _, size in known) or len(known)
        return torch.stack([value * (size / whole) for value, size in known]).sum(0) ** (1 / power) if known else None

    norms = [_double(part.norm) for part in parts if part.norm is not None]
    # the largest is divided by first: squares of a vanished signal are below the smallest float64 too
    largest = torch.stack(norms).amax(0) if norms else None
    total = None
    if largest is not None:
        scale = largest.where((largest > 0) & largest.isfinite(), 1.0)
        total = (torch.stack(norms) / scale).square().sum(0).sqrt() * scale
    mean, std = mean_of("mean"), mean_of("std", 2)
    if mean is not None and std is not None:  # the variance within the parts, and that between them
        between = [
            (_double(part.mean) - mean).square() * (part.size / count)
            for part in parts
            if part.mean is not None and count
        ]
        std = (std.square() + torch.stack(between).sum(0)).sqrt()
    masks = [part.dead_U for part in parts if part.dead_U is not None]
    alike = masks and len({mask.shape for mask in masks}) == 1
    return Moments(
        count, total, mean, std, mean_of("spread", 2), mean_of("saturated"),
        torch.stack(masks).all(0) if alike else None,
    )  # fmt: skip


def _double(value: Number) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)
