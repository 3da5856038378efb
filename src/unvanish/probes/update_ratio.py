"""Update ratio: how far one step moves a layer's weights, relative to their size.

    ‖ΔW_l‖ / ‖W_l‖

About 1e-3 is usual for a network that learns; 1e-7 is below the resolution of float32 weights.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from unvanish.core.probe import UpdateProbe


@final
@dataclass(frozen=True)
class UpdateRatio(UpdateProbe):
    name = "update_ratio"
    unit = "1"
    log = True

    def measure(self, change: Tensor) -> Tensor:
        return change
