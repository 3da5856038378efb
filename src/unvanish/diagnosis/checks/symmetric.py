"""UV006 symmetric units

What it measures: layers whose units have the same incoming weights, and still have after some steps.
Why it is bad: units that start alike and get the same gradient stay alike: the layer is as good as one unit.
Limitations: a head or a gate that starts at 0 is no finding, because its gradient is not the same for all units.
Prescriptions: random first weights.
References: Rumelhart, Hinton & Williams 1986, "Learning internal representations", on breaking symmetry.
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import Check, Examination
from unvanish.diagnosis.fixes import DRAWN_ANEW


@final
@dataclass(frozen=True)
class Symmetric(Check):
    code = "UV006"
    kind = "symmetric"
    title = "symmetric units"
    explains = ("vanishing", "collapse", "dead", "lr_low", "lr_high", "exploding", "saturated")
    prescriptions = (DRAWN_ANEW,)

    def examine(self, seen: Examination) -> Finding | None:
        if not seen.symmetric:
            return None
        return self.finding(
            f"all units of {_listed(seen.symmetric)} have equal weights, so they get equal gradients and stay equal",
            layers=seen.symmetric,
            certainty=0.97,
            layers_alike=len(seen.symmetric),
        )


def _listed(names: tuple[str, ...]) -> str:
    return f"layer {names[0]}" if len(names) == 1 else f"{len(names)} layers"
