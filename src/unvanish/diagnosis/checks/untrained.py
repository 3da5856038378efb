"""UV015 layers that no optimizer updates

What it measures: the weights that the output depends on, from the autograd graph, against what the module registers and
what the optimizer holds.
Why it is bad: these layers keep their initial weights, without any error message.
Limitations: layers in front that the optimizer leaves out are taken to be frozen on purpose where the network learns
without them, and reported without being called a fault; so are most weights beside a small rest that is trained (LoRA).
Prescriptions: nn.ModuleList or nn.Parameter instead of a list or a tensor; make the optimizer after the layers.
References: the PyTorch documentation of torch.nn.ModuleList, and of torch.optim, "Constructing it".
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix
from unvanish.diagnosis.evidence.parameters import Parameters
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination
from unvanish.diagnosis.fixes import OPTIMIZER_ANEW
from unvanish.diagnosis.profile import listed

ADAPTED = 0.1  # of the weights: adapters and LoRA train less than that on purpose


@final
@dataclass(frozen=True)
class Untrained(Check):
    code = "UV015"
    kind = "untrained"
    title = "layers that no optimizer updates"
    explains = (*CONSEQUENCES, "broken_graph", "labels", "imbalance", "regularisation", "eval_gap")
    prescriptions = (Fix("give the optimizer all parameters of the model as it is now", OPTIMIZER_ANEW),)

    def examine(self, seen: Examination) -> Finding | None:
        known = seen.parameters
        if known is None:
            return None
        if known.frozen:
            return self.finding(
                "no parameter of the model requires a gradient: everything is frozen",
                certainty=0.97,
                prescriptions=(Fix("let the parameters train", "model.requires_grad_(True)"),),
            )
        if known.unregistered:
            return self.finding(
                f"{listed(known.unregistered)} are used in forward, but the module does not register them: "
                "parameters() does not return them, so no optimizer updates them",
                layers=known.unregistered,
                certainty=0.95,
                prescriptions=_registered(known),
                unregistered=len(known.unregistered),
            )
        if known.made_anew:
            return self.finding(
                "forward uses parameters that the module does not register: layers that are made in forward itself, or "
                "kept outside of the module",
                certainty=0.9,
                prescriptions=("make the layers in __init__, as attributes of the module",),
            )
        if known.not_held:
            return self._not_held(known, helpless=seen.learned is False and not seen.learns_at)
        return None

    def _not_held(self, known: Parameters, helpless: bool) -> Finding:
        on_purpose = not known.stale and (known.prefix or known.share < ADAPTED)
        stale = (
            f"; it holds {known.stale} parameters that are not the model's: it was made before layers were replaced, "
            "or for another model"
            if known.stale
            else ""
        )
        verb = "is" if len(known.not_held) == 1 else "are"
        return self.finding(
            f"{listed(known.not_held)} {verb} used in forward, but the optimizer does not hold "
            f"{'it' if len(known.not_held) == 1 else 'them'}{stale}",
            layers=known.not_held,
            certainty=0.95 if not on_purpose else 0.7 if helpless else 0.3,
            not_held=len(known.not_held),
            share_held=known.share,
        )


def _registered(known: Parameters) -> tuple[Fix, ...]:
    first = known.unregistered[0]
    holder = first.split("[")[0]
    owner, _, name = holder.rpartition(".")
    target = f'model.get_submodule("{owner}")' if owner else "model"
    if "[" in first:
        kind = "ModuleDict" if "['" in first else "ModuleList"
        how = f"{target}.{name} = torch.nn.{kind}({target}.{name})"
    else:
        how = f"{target}.{name} = torch.nn.Parameter({target}.{name}.detach())"
        kind = "Parameter"
    return (Fix(f"nn.{kind} for '{holder}', and the optimizer made after it", f"{how}\n{OPTIMIZER_ANEW}"),)
