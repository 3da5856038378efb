"""UV004 dead units

What it measures: the units of each rectified layer that are flat for every input seen.
Why it is bad: a dead unit gets no gradient, so it stays inactive; a layer of dead units stops all below it.
Limitations: the strongest inputs of a data set may activate a layer that is dead for a few batches: if inputs three
times as strong do, we are not sure. Where all inputs give nearly the same, every unit is either on or off for all of
them, so half of a layer looks dead, and by chance more of a narrow one: behind a collapse only layers without any live
unit count, and of the others as many units must be dead as chance would not give in 30,000 layers, unless the backward
signal is lost as narrow layers lose it at critical weights. A few dead units are common and harmless. Bounded
activations (sigmoid, tanh) are UV005's.
Prescriptions: biases at 0, He's variance, a leaky activation, a smaller learning rate, normalisation.
References: Maas, Hannun & Ng 2013; Lu et al. 2019, "Dying ReLU and Initialization"; Hanin & Nica 2020,
"Products of Many Large Random Matrices and Gradients in Deep Neural Networks".
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import Check, Examination
from unvanish.diagnosis.fixes import ZERO_BIASES
from unvanish.diagnosis.profile import MOST_DEAD as MOST
from unvanish.diagnosis.profile import dead_layers, dead_only_at_this_scale
from unvanish.remedies import BetterActivation, LearningRate, NormalizeInside

ALL = 0.995  # all but one of 200: no path is left


@final
@dataclass(frozen=True)
class Dead(Check):
    code = "UV004"
    kind = "dead"
    title = "dead units"
    needs = ("dead", "saturated")
    explains = ("vanishing", "collapse", "lr_low", "lr_high")
    prescriptions = (
        ZERO_BIASES,
        BetterActivation("LeakyReLU"),
        "wider layers",
        NormalizeInside("batch-norm", learned=True),
        LearningRate(0.1),
    )

    def examine(self, seen: Examination) -> Finding | None:
        if seen.learned:
            return None
        dead_L = dead_layers(seen.table)
        worst = np.nan_to_num(dead_L, nan=0.0).max(initial=0.0)
        if worst < (MOST if seen.learned is False else ALL):
            return None
        layers = [name for name, dead in zip(seen.table.layers, dead_L, strict=True) if dead >= MOST]
        only_here = dead_only_at_this_scale(seen)
        return self.finding(
            f"{worst:.0%} of the units of layer {seen.table.layers[int(np.nanargmax(dead_L))]} pass no gradient for "
            "any input seen"
            + ("; with inputs three times as large, some units of every layer would be active" if only_here else ""),
            layers=layers,
            certainty=0.45 if only_here else 0.7 if seen.learned is None else 0.95 if worst >= ALL else 0.85,
            dead=worst,
        )
