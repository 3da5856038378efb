"""UV021 too much regularisation

What it measures: a trial as it is, in which the network does not learn, and the same without dropout, or without weight
decay, in which it does.
Why it is bad: noise of dropout adds up over depth: at every layer of L without normalisation the signal's share of its
own variance is (1 − p)^L, 0.03 of 16 layers with p = 0.2. Weight decay that outweighs the loss drives all weights to 0.
Limitations: a network that learns more slowly with either is no finding.
Prescriptions: dropout in the last layers only, or less of it; less weight decay.
References: Srivastava et al. 2014; Hinton et al. 2012; Schoenholz et al. 2017, section 5 (dropout and depth);
Loshchilov & Hutter 2019.
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination
from unvanish.diagnosis.trial.changes import WITHOUT_DECAY, WITHOUT_DROPOUT
from unvanish.remedies import WithoutDecay, WithoutDropout

BY_CALL = "p=0 where a forward method calls torch.nn.functional.dropout"


@final
@dataclass(frozen=True)
class Regularisation(Check):
    code = "UV021"
    kind = "regularisation"
    title = "too much regularisation"
    explains = (*CONSEQUENCES, "labels", "imbalance")
    prescriptions = (WithoutDropout(), BY_CALL, WithoutDecay())

    def examine(self, seen: Examination) -> Finding | None:
        if seen.learned is not False:
            return None
        if seen.changes.get(WITHOUT_DROPOUT.name):
            return self.finding(
                "the network does not learn with dropout, and learns without it",
                certainty=0.93,
                prescriptions=(WithoutDropout(), BY_CALL),
            )
        if seen.changes.get(WITHOUT_DECAY.name):
            return self.finding(
                "the network does not learn with weight decay, and learns without it",
                certainty=0.93,
                prescriptions=(WithoutDecay(),),
            )
        return None
