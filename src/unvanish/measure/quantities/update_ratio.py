"""Update ratio: how far one step moves a layer's weights, relative to their size.

    ‖ΔW_l‖ / ‖W_l‖

About 1e-3 is usual for a network that learns; 1e-7 is below the resolution of float32 weights.
"""

from dataclasses import dataclass
from typing import final

from unvanish.measure.moments import Number, ratio
from unvanish.measure.quantity import Quantity, Signals


@final
@dataclass(frozen=True)
class UpdateRatio(Quantity):
    name = "update_ratio"
    unit = "1"
    scale = "log"

    def of(self, layer: Signals) -> Number | None:
        if not layer.update or not layer.weight or layer.update.norm is None or layer.weight.norm is None:
            return None
        return ratio(layer.update.norm, layer.weight.norm)  # weights that were all 0 have none
