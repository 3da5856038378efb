"""UV019 batches sorted by class

What it measures: the share of the targets' variety that lies between batches, 1 − Σ n_b G_b / (n G) with Gini's
impurity G, against the same with the samples permuted 100 times. Where the first nine batches look alike, up to 200
batches or 20,000 samples are read on, or the targets of a data set behind a sequential sampler.
Why it is bad: each batch teaches one class, and the next one forgets it.
Limitations: sequences whose batches follow each other in time are numbers, not classes, and not judged.
Prescriptions: shuffle=True, or another order of the samples.
References: Bengio 2012, section 2.1.3 ("shuffle"); Bottou 2009, "Curiously fast convergence of some SGD algorithms".
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.finding import Finding, Fix
from unvanish.diagnosis.examination import CONSEQUENCES, Check, Examination


@final
@dataclass(frozen=True)
class DataOrder(Check):
    code = "UV019"
    kind = "data_order"
    title = "batches sorted by class"
    explains = (*CONSEQUENCES, "labels", "imbalance", "regularisation", "eval_gap")
    prescriptions = (
        Fix(
            "shuffle the samples",
            "from torch.utils.data import DataLoader\n"
            "def shuffled(loader):\n"
            "    return DataLoader(loader.dataset, loader.batch_size, shuffle=True)",
            where="by hand",
        ),
    )

    def examine(self, seen: Examination) -> Finding | None:
        targets = seen.targets
        if targets is None or not targets.sorted:
            return None
        return self.finding(
            f"the batches are sorted: {targets.between:.0%} of the variance of the {targets.classes} classes "
            f"lies between batches; in shuffled batches it is at most {targets.by_chance:.0%}",
            certainty=0.95 if targets.between > 0.8 else 0.8,
            between_batches=targets.between,
            by_chance=targets.by_chance,
        )
