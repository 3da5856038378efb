"""A finding: one fault of a network, with the numbers behind it and what to do about it."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from unvanish.core.remedy import Remedy

Kind = Literal[
    "vanishing",
    "collapse",
    "exploding",
    "dead",
    "saturated",
    "symmetric",
    "input_scale",
    "lr_high",
    "lr_low",
    "broken_graph",
    "non_finite",
    "output_activation",
    "target_shape",
    "target_scale",
    "untrained",
    "batch_leak",
    "eval_gap",
    "imbalance",
    "data_order",
    "labels",
    "regularisation",
    "precision",
    "gradients_accumulate",
    "no_step",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Fix:
    """What to change: in words, and as Python that runs where `torch`, `model`, `loss_fn` and `optimizer` are there.

    where   "setup": run once before the training, it mends it; "by hand": it shows or begins what has to be changed in
            the training loop or in the data
    """

    text: str
    code: str
    where: Literal["setup", "by hand"] = "setup"

    def __str__(self) -> str:
        return self.text


Prescription = Remedy | Fix | str  # a remedy can be applied and tried, a fix pasted; a sentence is followed by hand

SURE = 0.5  # more likely than not: below it a finding is told, but the network is not called failing


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, how we know, and what helps.

    code           stable, such as UV001; `unvanish rule UV001` explains it
    layers         names of the layers concerned, in forward order; empty where it is the whole training
    evidence       the numbers behind it, by what they are
    prescriptions  what addresses it, best first: `Remedy` values, which can be applied, `Fix`es, whose code runs as
                   it is, and sentences
    certainty      from 0 to 1; below 0.5 is "not sure"
    explains       kinds that are its consequences where they appear beside it
    because_of     the code of the finding whose consequence it is
    """

    code: str
    kind: Kind
    title: str
    message: str
    layers: tuple[str, ...] = ()
    evidence: Mapping[str, float] = field(default_factory=dict, hash=False)
    prescriptions: tuple[Prescription, ...] = ()
    certainty: float = 0.9
    explains: tuple[Kind, ...] = ()
    because_of: str | None = None

    @property
    def sure(self) -> bool:
        return self.certainty >= SURE

    @property
    def advice(self) -> tuple[str, ...]:
        """The prescriptions in words."""
        return tuple(
            f"{one} (uv.{type(one).__name__})" if isinstance(one, Remedy) else str(one) for one in self.prescriptions
        )

    @property
    def remedies(self) -> tuple[str, ...]:
        """Deprecated: `advice` has the sentences, `prescriptions` the values."""
        warnings.warn(
            "Finding.remedies is called advice now; prescriptions has values", DeprecationWarning, stacklevel=2
        )
        return self.advice

    def __repr__(self) -> str:
        return f"Finding({self.code} {self.kind}, {self.certainty:.0%}: {self.message})"
