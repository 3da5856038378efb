"""A check looks at what was measured for one illness."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from unvanish.core.finding import Finding, Kind
from unvanish.core.reading import Array, Reading

MOST = 0.7  # of a layer's units


@dataclass(frozen=True)
class Inputs:
    """Of all floating-point inputs together."""

    mean: float
    std: float
    rms: float


@dataclass(frozen=True)
class Examination:
    """Everything that a check may look at.

    reading       what was measured of every layer
    stronger      the same, forward only, for inputs three times as strong
    learns        whether the network learns as it is: `None` where nobody tried
    trained       it had learned already, before the first step
    learns_at     factors on the learning rate at which it learns, of those that were tried
    tried         whether other rates were tried at all; `exhausted`: all that were to be tried
    learnable     whether a linear model learns from the same batches; `None`: not tried
    standardised  whether it learns (twice as well, if it learns as it is), or its flow is well, once its inputs have
                  mean 0 and standard deviation 1
    diverged      the loss became NaN or infinite, or grew beyond all bounds, in its own training
    cut           layers whose weights want a gradient and get none, though the loss depends on them
    unused        layers whose weights want a gradient, and on which the loss does not depend
    no_gradient   the loss depends on no weight
    symmetric     layers whose units are copies of one another, and stay so
    non_finite    the place of the first NaN or infinity; `when` it was seen
    inputs        the data
    unseen        layers that could not be measured
    """

    reading: Reading
    stronger: Reading | None = None
    learns: bool | None = None
    trained: bool = False
    learns_at: tuple[float, ...] = ()
    tried: bool = False
    exhausted: bool = False
    learnable: bool | None = None
    standardised: bool | None = None
    diverged: bool = False
    cut: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    no_gradient: bool = False
    symmetric: tuple[str, ...] = ()
    non_finite: str | None = None
    when: str = "before any step"
    inputs: Inputs | None = None
    unseen: tuple[str, ...] = ()

    @property
    def hopeless(self) -> bool:
        """It does not learn, and would not at any other rate."""
        return self.learns is False and self.exhausted and not self.learns_at and self.learnable is not False

    @property
    def asleep(self) -> bool:
        """Most units of a layer are dead for these inputs, and not for stronger ones: others may wake them."""
        return self.stronger is not None and _worst(self.reading.dead_L) >= MOST and _worst(self.stronger.dead_L) < MOST


def _worst(fractions_L: Array) -> float:
    return float(np.nan_to_num(fractions_L, nan=0.0).max(initial=0.0))


class Check(ABC):
    """`code` and `title` name it; the module's docstring explains it; `explains` are the kinds that follow from it."""

    code: ClassVar[str]
    kind: ClassVar[Kind]
    title: ClassVar[str]
    explains: ClassVar[tuple[Kind, ...]] = ()
    remedies: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def examine(self, seen: Examination) -> Finding | None: ...

    def finding(
        self,
        message: str,
        *,
        layers: Sequence[str] = (),
        certainty: float = 0.9,
        explains: tuple[Kind, ...] | None = None,
        **evidence: float,
    ) -> Finding:
        return Finding(
            self.code,
            self.kind,
            message,
            tuple(layers),
            {name: float(value) for name, value in evidence.items()},
            self.remedies,
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
