"""UV012 output activation that does not fit the loss

What it measures: what stands between the last weights and the loss, in the autograd graph: a softmax or a sigmoid whose
result the loss takes for logits and normalises again; values passed as log-probabilities that are not; a softmax over
one unit; and, of an output activation of a bounded range, how much of the loss its best outputs would keep.
Why it is bad: a softmax of probabilities lies between 1/(1 + (C − 1)e) and e/(e + C − 1), for ten classes 0.04 and
0.23: the loss cannot fall below 1.46, and its gradient is small everywhere. A softmax over one unit is 1 whatever
comes. What lies outside of an activation's range cannot be reached, and its units saturate on the way.
Limitations: pairs are seen where only views stand between them: not through a product or a sum. LogSoftmax before
CrossEntropyLoss changes nothing and is no finding. A ReLU or a tanh before a cross-entropy is one only where the
network does not learn.
Prescriptions: remove the activation, or take the loss that goes with it.
References: Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs"; the PyTorch
documentation of CrossEntropyLoss, NLLLoss and BCEWithLogitsLoss.
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix, Prescription
from unvanish.diagnosis.evidence.ending import Ending
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination

OUT_OF_REACH = 0.1  # of the best constant's loss: even the best outputs keep as much


@final
@dataclass(frozen=True)
class OutputActivation(Check):
    code = "UV012"
    kind = "output_activation"
    title = "output activation that does not fit the loss"
    explains = (*CONSEQUENCES, "non_finite", "target_scale", "labels", "imbalance", "regularisation")
    prescriptions = (
        Fix(
            "give the loss the logits: no softmax or sigmoid behind the last layer, and CrossEntropyLoss",
            "loss_fn = torch.nn.CrossEntropyLoss()",
        ),
    )

    def examine(self, seen: Examination) -> Finding | None:
        end = seen.ending
        if end is None:
            return None
        if end.one_unit:
            return self.finding(
                "a softmax over one unit gives 1 whatever the input is, so nothing can be learned",
                certainty=0.97,
                prescriptions=_one_unit(end),
            )
        if end.doubled:
            return self.finding(
                f"{seen.loss_fn} applies {end.doubled} itself, and its input has passed through a {end.activation} "
                "already",
                layers=(end.module,) if end.module else (),
                certainty=0.97,
                prescriptions=_not_twice(end, seen.loss_fn),
            )
        if end.raw:
            return self.finding(_raw(end, seen.loss_fn), certainty=0.95, prescriptions=_with_logarithm(end))
        if end.unreachable is not None and end.unreachable >= OUT_OF_REACH and not _two_valued(seen):
            return self.finding(
                f"the output is a {end.activation}, between {end.low:g} and {end.high:g}, and the targets go from "
                f"{seen.targets.low:.3g} to {seen.targets.high:.3g}"
                if seen.targets
                else "",
                layers=(end.module,) if end.module else (),
                certainty=0.95,
                prescriptions=_unbounded(end),
                unreachable=end.unreachable,
            )
        if end.squashed and seen.learned is False and not seen.learns_at:
            return self.finding(
                f"a {end.activation} bounds the logits that {seen.loss_fn} takes",
                layers=(end.module,) if end.module else (),
                certainty=0.7,
                prescriptions=_unbounded(end),
            )
        return None


def _two_valued(seen: Examination) -> bool:
    """−1 and 1 under a sigmoid are labels of another convention: UV020."""
    return seen.targets is not None and seen.targets.classes == 2 and seen.targets.low < 0


def _raw(end: Ending, loss: str) -> str:
    if end.raw == "no probabilities":
        return f"{loss} expects probabilities, between 0 and 1, and its input is outside of that range"
    got = "probabilities without their logarithm" if end.raw == "probabilities" else "logits"
    return f"{loss} expects log-probabilities, and its input is {got}"


def _removed(end: Ending, why: str) -> tuple[Prescription, ...]:
    if not end.module:
        return ()
    text = f"remove the {end.activation} at '{end.module}': {why}"
    return (Fix(text, f'model.set_submodule("{end.module}", torch.nn.Identity())'),)


def _not_twice(end: Ending, loss: str) -> tuple[Prescription, ...]:
    removed = _removed(end, f"{loss} applies {end.doubled} itself")
    if end.doubled == "sigmoid":
        other = Fix(
            f"{_or(removed)}keep the {end.activation} and take BCELoss, which takes probabilities",
            "loss_fn = torch.nn.BCELoss()",
        )
    else:
        other = Fix(
            f"{_or(removed)}keep the {end.activation} and take NLLLoss of its logarithm",
            "nll = torch.nn.NLLLoss()\nloss_fn = lambda p, target: nll(p.clamp_min(1e-9).log(), target)",
        )
    return (*removed, other)


def _or(before: tuple[Prescription, ...]) -> str:
    return "or " if before else ""


def _with_logarithm(end: Ending) -> tuple[Prescription, ...]:
    if end.raw == "probabilities":
        return (
            Fix(
                "take the logarithm of the probabilities (better: no softmax, and CrossEntropyLoss)",
                "nll = torch.nn.NLLLoss()\nloss_fn = lambda p, target: nll(p.clamp_min(1e-9).log(), target)",
            ),
        )
    if end.raw == "no probabilities":
        return (Fix("take the loss of logits, BCEWithLogitsLoss", "loss_fn = torch.nn.BCEWithLogitsLoss()"),)
    return (Fix("take CrossEntropyLoss, which takes logits", "loss_fn = torch.nn.CrossEntropyLoss()"),)


def _one_unit(end: Ending) -> tuple[Prescription, ...]:
    removed = f'model.set_submodule("{end.module}", torch.nn.Identity())\n' if end.module else ""
    what = f"remove the {end.activation} at '{end.module}' and " if end.module else ""
    return (
        Fix(
            f"for two classes and one output unit: {what}take BCEWithLogitsLoss, which applies the sigmoid itself",
            f"{removed}bce, flat = torch.nn.BCEWithLogitsLoss(), lambda one: one.flatten().float()\n"
            "loss_fn = lambda out, target: bce(flat(out), flat(target))",
        ),
        "for more classes give the last layer one output unit per class",
    )


def _unbounded(end: Ending) -> tuple[Prescription, ...]:
    removed = _removed(end, "the outputs have to reach the targets")
    return (*removed, f"{_or(removed)}scale the targets into its range, and the outputs back")
