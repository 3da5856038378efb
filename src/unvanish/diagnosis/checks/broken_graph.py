"""UV010 computation graph is cut

What it measures: weights that want a gradient and get none (not zero: none), though the loss changes when they are
changed; and whether the loss depends on any weight at all.
Why it is bad: these layers keep their initial weights, without any error message.
Limitations: a module that never runs, or whose output is not used, has no gradient either: that is told, but does
not make a network failing.
Prescriptions: find the `detach()`, `.data`, `.item()`, `torch.no_grad()`, NumPy or argmax between the layer and the
loss.
References: the PyTorch documentation, "Autograd mechanics".
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import Check, Examination


@final
@dataclass(frozen=True)
class BrokenGraph(Check):
    code = "UV010"
    kind = "broken_graph"
    title = "computation graph is cut"
    explains = ("vanishing", "collapse", "lr_low", "lr_high")
    prescriptions = (
        "remove the detach(), .data, .item(), torch.no_grad() or NumPy call between these layers and the loss",
        "requires_grad_(False) where a layer is meant to stay frozen",
    )

    def examine(self, seen: Examination) -> Finding | None:
        if seen.no_gradient and not (seen.parameters and seen.parameters.frozen):
            return self.finding("the loss depends on no weight: nothing can be learned", certainty=0.99)
        if seen.cut:
            return self.finding(
                f"no gradient arrives at {_listed(seen.cut)}, though the loss depends on "
                f"{'it' if len(seen.cut) == 1 else 'them'}: the graph is cut between here and the loss",
                layers=seen.cut,
                certainty=0.97,
                without_gradient=len(seen.cut),
            )
        if seen.unused:
            return self.finding(
                f"the loss does not depend on {_listed(seen.unused)}",
                layers=seen.unused,
                certainty=0.3,
                unused=len(seen.unused),
            )
        return None


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
    return f"layer {shown}" if len(names) == 1 else f"{len(names)} layers ({shown})"
