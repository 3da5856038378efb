"""UV016 samples depend on one another

What it measures: in `eval()` and float64, one sample of a batch is replaced by another, at the front, in the middle and
at the end; do the outputs of the others change? Statistics of the batch (means, variances, sums over its samples) are
held where they were, so that a normalisation over the batch is no leak.
Why it is bad: an operation along the batch axis (a softmax over dim 0, a recurrent or attention layer that takes the
batch for time, a reshape that mixes) gives each sample the others' inputs, and another answer in another batch.
Limitations: not examined for inputs of different lengths (graphs), for outputs without a batch axis, and for models
that take no batch of seven. What is summed over the batch by hand counts as a statistic.
Prescriptions: dim=-1, batch_first=True, transpose instead of reshape.
References: Karpathy 2019, "A recipe for training neural networks" ("use backprop to chart dependencies").
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix, Prescription
from unvanish.diagnosis.evidence.leak import Leak
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination


@final
@dataclass(frozen=True)
class BatchLeak(Check):
    code = "UV016"
    kind = "batch_leak"
    title = "samples depend on one another"
    explains = (*CONSEQUENCES, "labels", "imbalance", "output_activation", "eval_gap", "regularisation", "target_scale")
    prescriptions = ("work along the axis of the features or of time, not along the batch (dim 0)",)

    def examine(self, seen: Examination) -> Finding | None:
        leak = seen.leak
        if leak is None:
            return None
        where = f"from '{leak.module}' ({leak.kind}) on, " if leak.module else ""
        return self.finding(
            f"{where}the output of a sample changes when another sample of its batch is replaced, by up to "
            f"{leak.most:.2g} of the largest output",
            layers=(leak.module,) if leak.module else (),
            certainty=0.95,
            prescriptions=_for(leak),
            change=leak.most,
        )

    def not_examined(self, seen: Examination) -> str | None:
        return f"samples that depend on each other: {seen.no_leak_seen}" if seen.no_leak_seen else None


def _for(leak: Leak) -> tuple[Prescription, ...]:
    if leak.kind in ("Softmax", "LogSoftmax", "Softmin", "Softmax2d"):
        text = f"the softmax at '{leak.module}' over the classes"
        return (Fix(text, f'model.get_submodule("{leak.module}").dim = -1'),)
    if leak.kind in ("RNN", "LSTM", "GRU", "MultiheadAttention"):
        text = f"batch_first=True for the {leak.kind} at '{leak.module}', whose input has the batch in front"
        return (Fix(text, f'model.get_submodule("{leak.module}").batch_first = True'),)
    return (
        "dim=-1 (not dim=0) in softmax, normalize and cat; batch_first=True for recurrent and attention layers; "
        "transpose or permute where view or reshape mixes the batch with another axis",
    )
