"""TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class TensorBoardWriter:
    """Scalars in a `SummaryWriter`: yours, or one for the folder that is named."""

    def __init__(self, to: SummaryWriter | str | Path) -> None:
        self.summary = to if isinstance(to, SummaryWriter) else SummaryWriter(str(to))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.summary.add_scalar(name, value, step)
        self.summary.flush()
