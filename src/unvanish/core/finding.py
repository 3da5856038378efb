"""A finding: one illness of a network, with the numbers behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

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
]
KINDS: tuple[Kind, ...] = get_args(Kind)

SURE = 0.5  # a finding below this certainty is told, but does not make a network sick


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, how we know, and what helps.

    code        stable, such as UV001; `unvanish rule UV001` explains it
    layers      names of the layers concerned, in forward order; empty where it is the whole training
    evidence    the numbers behind it, by what they are
    remedies    what addresses it, best first
    certainty   from 0 to 1; below 0.5 is "not sure"
    explains    kinds that are its consequences where they appear beside it
    because_of  the code of the finding whose consequence it is
    """

    code: str
    kind: Kind
    message: str
    layers: tuple[str, ...] = ()
    evidence: Mapping[str, float] = field(default_factory=dict)
    remedies: tuple[str, ...] = ()
    certainty: float = 0.9
    explains: tuple[Kind, ...] = ()
    because_of: str | None = None

    @property
    def sure(self) -> bool:
        return self.certainty >= SURE
