"""The compiled kernels as functions of tensors: for those that lie on the CPU, one element after another."""
# B batch, D features, N samples, S measured steps

from typing import final

import torch
from torch import Tensor

from unvanish.core.moments import relative_change
from unvanish.core.region import Region
from unvanish.core.signal import TensorSignal, units_last
from unvanish.kernels.library import library

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
    """A row of a `Survey`: all that probes ask of a tensor, in one pass."""
    kernels = library()
    values_BD = values if values.dim() == 2 else units_last(values)
    if kernels is None or not fits(values_BD, torch.float32) or values_BD.numel() == 0:
        signal = TensorSignal(values, region)
        return torch.stack([getattr(signal, column).double() for column in COLUMNS]).detach()
    row = ROW.new_empty(len(COLUMNS))
    kernels.survey(values_BD.data_ptr(), *values_BD.shape, region.low, region.high, row.data_ptr())
    return row


def change(before: Tensor, after: Tensor) -> Tensor:
    """‖after − before‖ / ‖before‖, [1]."""
    kernels = library()
    if kernels is None or not fits(before, torch.float32) or not fits(after, torch.float32):
        return relative_change(before, after)[None].double()
    relative = ROW.new_empty(1)
    kernels.change(before.data_ptr(), after.data_ptr(), before.numel(), relative.data_ptr())
    return relative


@final
class Survey:
    """A `Signal` of several steps, from their rows."""

    def __init__(self, rows_S6: Tensor, region: Region) -> None:
        self.region = region
        self.mean, self.std, self.rms, self.norm, self.saturated, self.dead = rows_S6.unbind(-1)
