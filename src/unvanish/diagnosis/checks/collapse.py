"""UV002 forward collapse

What it measures: how much of the last hidden signal tells one input from another, √mean (h − h̄)² over √mean h²,
h̄ the mean over the batch.
The same of the output after the trial: embeddings of a metric or contrastive loss that become one, a decoder that
ignores its latent.
Why it is bad: where all inputs look the same, no layer behind can tell them apart, whatever it learns.
Limitations: a loss of contrast is a consequence where the gradient vanishes too: both come from layers that
shrink what passes. Only a collapse within one layer is a cause of its own. A batch of samples that are alike looks
like a collapse.
Prescriptions: smaller biases, critical initial weights, normalisation, skip connections.
References: Poole et al. 2016 (the ordered phase, c* = 1); Dong, Cordonnier & Loukas 2021 (attention without skips);
Bardes, Ponce & LeCun 2022 (VICReg); Bowman et al. 2016 (KL annealing).
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import Check, Examination
from unvanish.diagnosis.fixes import HE, ZERO_BIASES
from unvanish.diagnosis.profile import contrast, saturating
from unvanish.remedies import CentredCriticalInit, LearningRate, NormalizeInside

CONTRAST = 0.03  # √(1 − c): the outputs for two inputs correlate by c = 0.999
NOTABLE = 0.3  # where nothing else that was tried explains a failure
NO_TRIAL = 0.003  # by 0.99999
SUDDEN = 1e-4  # in one layer: the steepest gentle one, a sigmoid with weights from N(0, 0.05²), keeps 1/7

IN_TRAINING = (
    LearningRate(0.1),
    "negative pairs, or a term for the variance of the embeddings (VICReg), in a loss that only pulls together",
    "a smaller weight of the divergence (KL annealing), where a decoder ignores its latent",
)


@final
@dataclass(frozen=True)
class Collapse(Check):
    code = "UV002"
    kind = "collapse"
    title = "forward collapse"
    needs = ("spread", "activation_rms")
    explains = ("lr_low",)
    prescriptions = (
        ZERO_BIASES,
        HE,
        NormalizeInside("batch-norm", learned=True),
    )

    def examine(self, seen: Examination) -> Finding | None:
        return self._at_first(seen) or self._in_training(seen)

    def _in_training(self, seen: Examination) -> Finding | None:
        """Embeddings that become one, a latent that its decoder ignores."""
        judged = seen.learned is False or (seen.by_loss and not seen.differentiates)
        if not judged or seen.contrast is None or not seen.contrast.lost or any(seen.changes.values()):
            return None
        share = f"from {seen.contrast.before:.2g} to {seen.contrast.after:.1e}"
        where = (
            f"; from layer {seen.contrast.layers[0]} on, activations no longer depend on the input"
            if seen.contrast.layers
            else ""
        )
        return self.finding(
            f"during the trial the outputs become the same for all inputs: the difference between them falls "
            f"{share} of their size{where}",
            layers=seen.contrast.layers,
            certainty=0.8 if seen.contrast.after < NO_TRIAL else 0.6,
            prescriptions=IN_TRAINING,
            before=seen.contrast.before,
            after=seen.contrast.after,
        )

    def _at_first(self, seen: Examination) -> Finding | None:
        contrast_L = contrast(seen.table)
        hidden = range(max(1, len(seen.table) - 1))  # what the last layer gives may be all offset
        known = [index for index in hidden if len(seen.table) and np.isfinite(contrast_L[index])]
        if seen.learned or seen.learns_at or not known:
            return None
        last = contrast_L[known[-1]]
        if seen.fails_for_sure and CONTRAST <= last < NOTABLE:
            return self.finding(
                f"after the last hidden layer only {last:.2g} of the signal depends on the input",
                layers=(seen.table.layers[known[-1]],),
                certainty=0.54,
                contrast=last,
            )
        if last >= (CONTRAST if seen.learned is False else NO_TRIAL):
            return None
        flat = [index for index in known if contrast_L[index] < 2 * CONTRAST]
        at = flat[0]
        before = max((contrast_L[index] for index in known if index < at), default=1.0)
        sudden = contrast_L[at] < SUDDEN * before
        alike = seen.learned is None and at == known[0]  # the inputs themselves, perhaps
        unproven = alike or (seen.learnable is False and not sudden)
        share = f"only {last:.1e} of the signal does" if last > 0 else "less of the signal does than float32 resolves"
        return self.finding(
            f"from layer {seen.table.layers[at]} on, activations hardly depend on the input: {share}"
            + (", and it is lost within one layer" if sudden else ""),
            layers=[seen.table.layers[index] for index in flat],
            certainty=0.45 if unproven else _certainty(seen, sudden),
            explains=("vanishing", "lr_low", "dead") if sudden else self.explains,
            prescriptions=(*((CentredCriticalInit(),) if saturating(seen.table) else ()), *self.prescriptions),
            contrast=last,
        )


def _certainty(seen: Examination, sudden: bool) -> float:
    if seen.learned is None:
        return 0.6
    return 0.97 if sudden else 0.85
