"""The compiled kernels as functions of tensors: for those that lie on the CPU, one element after another."""
# B batch, D features, N samples, S measured steps

from typing import final

import torch
from torch import Tensor

from unvanish.measure.moments import norm
from unvanish.measure.region import EVERYWHERE, Region
from unvanish.measure.signal import dead_units, moments, saturated_share, spread_over_batch
from unvanish.train.native.library import library

COLUMNS = ("mean", "std", "rms", "norm", "saturated", "dead")  # of a survey, as in kernels.c
ROW = torch.empty(len(COLUMNS), dtype=torch.float64, device="cpu")


def fits(values: Tensor, dtype: torch.dtype) -> bool:
    """Whether a kernel can read them."""
    return values.dtype is dtype and values.is_cpu and values.is_contiguous()


def scaled_rows(images_ND: Tensor, rows_B: Tensor) -> Tensor | None:
    """The rows of images of bytes, divided by 255: the bits that torch leaves. `None` where no kernel can."""
    if not fits(images_ND, torch.uint8) or not fits(rows_B, torch.int64) or images_ND.dim() != 2:
        return None
    if (kernels := library()) is None:
        return None
    x_BD = torch.empty(len(rows_B), images_ND.shape[1], dtype=torch.float32, device="cpu")
    kernels.pick(images_ND.data_ptr(), rows_B.data_ptr(), *x_BD.shape, x_BD.data_ptr())
    return x_BD


def surveyed(values: Tensor, region: Region) -> Tensor:
    """A row of a `Survey`: all that quantities ask of a tensor whose last dimension are the units, in one pass."""
    kernels = library()
    values_BD = values.reshape(-1, values.shape[-1])
    if kernels is None or not fits(values_BD, torch.float32) or values_BD.numel() == 0:
        return _by_torch(values_BD.detach(), region)
    row = ROW.new_empty(len(COLUMNS))
    kernels.survey(values_BD.data_ptr(), *values_BD.shape, region.low, region.high, row.data_ptr())
    return row


def _by_torch(values_BD: Tensor, region: Region) -> Tensor:
    found, dead_D = moments(values_BD), dead_units(values_BD, region, 1)
    saturated = saturated_share(values_BD, Region(max(region.low, -3e38), min(region.high, 3e38)))
    dead = None if dead_D is None else dead_D.float().mean()
    numbers = (found.mean, found.std, found.rms, found.norm, saturated, dead)
    return ROW.new_tensor([0.0 if number is None else float(number) for number in numbers])


def spread(values: Tensor) -> Tensor:
    """√ mean (x − x̄)², x̄ the mean over the batch, 0-dimensional."""
    kernels = library()
    if kernels is None or not fits(values, torch.float32) or values.dim() < 2 or values.numel() == 0:
        return ROW.new_tensor(float(spread_over_batch(values.detach())))
    found = ROW.new_empty(())
    kernels.spread(values.data_ptr(), len(values), values[0].numel(), found.data_ptr())
    return found


def change(before: Tensor, after: Tensor) -> Tensor:
    """‖after − before‖ and ‖before‖, [2]."""
    kernels = library()
    if kernels is None or not fits(before, torch.float32) or not fits(after, torch.float32):
        return ROW.new_tensor([float(norm(after - before)), float(norm(before))])
    sizes = ROW.new_empty(2)
    kernels.change(before.data_ptr(), after.data_ptr(), before.numel(), sizes.data_ptr())
    return sizes


@final
class Survey:
    """A `Signal` of several steps, from their rows."""

    spread: Tensor | None = None

    def __init__(self, rows_S6: Tensor, region: Region) -> None:
        self.mean, self.std, self.rms, self.norm, saturated, dead = rows_S6.unbind(-1)
        self.saturated = saturated if region.two_sided else None
        self.dead = None if region == EVERYWHERE else dead
