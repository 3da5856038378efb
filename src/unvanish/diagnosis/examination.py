"""A check looks at what was measured for one fault; an examination is everything that it may look at."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from unvanish.core.finding import Finding, Kind, Prescription
from unvanish.core.table import Array, Table


@dataclass(frozen=True)
class Inputs:
    """Of all floating-point inputs together."""

    mean: float
    std: float
    rms: float


@dataclass(frozen=True)
class Standardised:
    """What became of the network once its inputs had mean 0 and standard deviation 1.

    learned    it learned; twice as well, if it learns as it is
    begins     it had begun to learn, where with the raw inputs its loss diverged
    relieved   the fault in its signals was gone, measured anew
    """

    learned: bool = False
    begins: bool = False
    relieved: bool = False

    @property
    def helps(self) -> bool:
        return self.learned or self.begins or self.relieved


@dataclass(frozen=True, eq=False)
class Examination:
    """Everything that a check may look at.

    table         what was measured of every layer, its last step
    stronger      the same, forward only, for inputs three times as strong
    learned       whether the network learns as it is: `None` where nobody tried
    had_learned   it had learned already, before the first step
    learns_at     factors on the learning rate at which it learns, of those that were tried
    tried         whether other rates were tried at all; `exhausted`: all that were to be tried
    learnable     whether a linear model learns from the same batches; `None`: not tried
    standardised  what became of it with inputs of mean 0 and standard deviation 1; `None`: not tried
    diverged      the loss became NaN or infinite, or grew beyond all bounds, in its own training
    cut           layers whose weights want a gradient and get none, though the loss depends on them
    unused        layers whose weights want a gradient, and on which the loss does not depend
    no_gradient   the loss depends on no weight
    symmetric     layers whose units are copies of one another, and stay so
    non_finite    the place of the first NaN or infinity; `when` it was seen
    inputs        the data
    notes         what could not be examined, in sentences
    """

    table: Table = field(default_factory=Table)
    stronger: Table | None = None
    learned: bool | None = None
    had_learned: bool = False
    learns_at: tuple[float, ...] = ()
    tried: bool = False
    exhausted: bool = False
    learnable: bool | None = None
    standardised: Standardised | None = None
    diverged: bool = False
    cut: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    no_gradient: bool = False
    symmetric: tuple[str, ...] = ()
    non_finite: str | None = None
    when: str = "before any step"
    inputs: Inputs | None = None
    notes: tuple[str, ...] = ()

    def of(self, quantity: str) -> Array:
        """By layer, [L]; NaN where it was not measured."""
        return self.table.row(quantity)

    @property
    def fails_at_every_rate(self) -> bool:
        """It does not learn, and would not at any other rate."""
        return self.learned is False and self.exhausted and not self.learns_at and self.learnable is not False


class Check(ABC):
    """`code` and `title` name it; the module's docstring explains it; `explains` are the kinds that follow from it.

    needs   quantities of which it needs one to say anything
    """

    code: ClassVar[str]
    kind: ClassVar[Kind]
    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    explains: ClassVar[tuple[Kind, ...]] = ()
    prescriptions: ClassVar[tuple[Prescription, ...]] = ()

    @abstractmethod
    def examine(self, seen: Examination) -> Finding | None: ...

    def not_examined(self, seen: Examination) -> str | None:
        """Why it cannot say anything, if so."""
        known = [name for name in self.needs if not np.isnan(seen.of(name)).all()]
        if known or not self.needs or not len(seen.table):
            return None
        return f"{self.title}: {self.needs[0]} was not measured in any layer"

    def finding(
        self,
        message: str,
        *,
        layers: Sequence[str] = (),
        certainty: float = 0.9,
        explains: tuple[Kind, ...] | None = None,
        prescriptions: tuple[Prescription, ...] | None = None,
        **evidence: float,
    ) -> Finding:
        return Finding(
            self.code,
            self.kind,
            self.title,
            message,
            tuple(layers),
            {name: float(value) for name, value in evidence.items()},
            self.prescriptions if prescriptions is None else prescriptions,
            round(float(np.clip(certainty, 0.0, 1.0)), 2),
            self.explains if explains is None else explains,
        )


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Causes first, the most certain in front; behind each the findings that it explains."""
    told: list[Finding] = []
    causes = [one for one in findings if _cause_of(one, findings) is None]
    for cause in sorted(causes, key=lambda one: -one.certainty):
        told.append(cause)
        mine = [one for one in findings if one not in causes and _root(one, findings) == cause]
        told += [replace(one, because_of=cause.code) for one in sorted(mine, key=lambda one: -one.certainty)]
    return tuple(told)


def _cause_of(one: Finding, findings: Sequence[Finding]) -> Finding | None:
    """What explains it best; of two that explain each other, the more certain is the cause."""
    causes = [
        other
        for other in findings
        if one.kind in other.explains
        and other.sure
        and not (other.kind in one.explains and _weight(one) > _weight(other))
    ]
    return max(causes, key=_weight, default=None)


def _weight(one: Finding) -> tuple[float, str]:
    return one.certainty, one.code


def _root(one: Finding, findings: Sequence[Finding]) -> Finding:
    while (cause := _cause_of(one, findings)) is not None:
        one = cause
    return one
