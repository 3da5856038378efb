"""UV004 dead units

What it measures: the units of each rectified layer that are flat for every input seen.
Why it is bad: a dead unit gets no gradient, so nothing brings it back; a layer of dead units stops all below it.
Known problems: the strongest inputs of a data set may wake a layer that sleeps through a few batches: if inputs three
times as strong do, we are not sure. Behind a collapse every unit is either on or off for all inputs, so half of
them look dead: that is the collapse. A few dead units are common and harmless.
Remedies: biases at 0, He's variance, a leaky activation, a smaller learning rate, normalisation.
References: Maas, Hannun & Ng 2013; Lu et al. 2019, "Dying ReLU and Initialization".
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from unvanish.core.check import MOST, Check, Examination
from unvanish.core.finding import Finding

ALL = 0.995


@final
@dataclass(frozen=True)
class Dead(Check):
    code = "UV004"
    kind = "dead"
    title = "dead units"
    explains = ("vanishing", "collapse", "lr_low", "lr_high")
    remedies = (
        "biases that start at 0",
        "a leaky activation (BetterActivation: LeakyReLU, ELU or GELU)",
        "wider layers, or normalisation (NormalizeInside)",
        "a smaller learning rate",
    )

    def examine(self, seen: Examination) -> Finding | None:
        dead_L = np.nan_to_num(seen.reading.dead_L, nan=0.0)
        worst = dead_L.max(initial=0.0)
        if seen.learns or worst < (MOST if seen.learns is False else ALL):
            return None
        layers = [name for name, dead in zip(seen.reading.layers, dead_L, strict=True) if dead >= MOST]
        return self.finding(
            f"{worst:.0%} of the units of layer {seen.reading.layers[int(np.argmax(dead_L))]} pass nothing on for any "
            "input seen" + ("; inputs three times as strong would wake some in every layer" if seen.asleep else ""),
            layers=layers,
            certainty=0.45 if seen.asleep else 0.7 if seen.learns is None else 0.95 if worst >= ALL else 0.85,
            dead=worst,
        )
