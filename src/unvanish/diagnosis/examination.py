"""A check looks at what was measured for one fault; an examination is everything that it may look at."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from unvanish.core.finding import Finding, Kind, Prescription
from unvanish.core.table import Array, Table
from unvanish.diagnosis.evidence.broadcast import Shapes
from unvanish.diagnosis.evidence.contrast import Contrast
from unvanish.diagnosis.evidence.ending import Ending
from unvanish.diagnosis.evidence.evaluation import Evaluated
from unvanish.diagnosis.evidence.leak import Leak
from unvanish.diagnosis.evidence.origin import Origin
from unvanish.diagnosis.evidence.parameters import Parameters
from unvanish.diagnosis.evidence.precision import Precision
from unvanish.diagnosis.evidence.predictions import Predictions
from unvanish.diagnosis.evidence.simple import Simple
from unvanish.diagnosis.evidence.targets import Targets


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


@dataclass(frozen=True)
class Loop:
    """What a watch counted: backward passes, optimizer steps, and steps that began with gradients left from before.

    looked   at how many steps the gradients left were looked at; -1 where nobody can
    rates    the learning rates as they are now
    still    no weight changed in the last step that was measured
    """

    backwards: int = 0
    steps: int = 0
    left: int = 0
    looked: int = 0
    rates: tuple[float, ...] = ()
    still: bool = False


@dataclass(frozen=True, eq=False)
class Examination:
    """Everything that a check may look at.

    table         what was measured of every layer, its last step
    stronger      the same, forward only, for inputs three times as strong
    learned       whether the network learns as it is: `None` where nobody tried
    had_learned   it had learned already, before the first step
    learns_at     factors on the learning rate at which it learns, of those that were tried
    tried         whether other rates were tried at all; `exhausted`: all that were to be tried
    behind        it has learned something, and far less than a simple model from the same batches
    lost          it had learned within the first steps, and lost it as they went on
    skill         of its predictions of held-out samples after the trial: 0 for the best constant, 1 without error
    memorised     it fits the samples that it is trained on, and no others
    learnable     whether a simple model learns from the same batches; `None`: not tried
    standardised  what became of it with inputs of mean 0 and standard deviation 1; `None`: not tried
    changes       other trials: what was changed, and whether it learned then
    diverged      the loss became NaN or infinite, or grew beyond all bounds, in its own training
    compared      the loss compares outputs with targets directly: no weights stand between them
    by_loss       whether it learned is judged by the fall of the loss alone
    contrast      what of the output tells inputs apart, before the trial and after it
    differentiates  the model or its loss differentiates by the input
    predicts      its outputs are scores of classes, or the numbers of the targets
    no_leak_seen  why it was not looked for outputs that depend on other samples
    invalid       targets that the loss cannot mean, in words
    cut           layers whose weights want a gradient and get none, though the loss depends on them
    unused        layers whose weights want a gradient, and on which the loss does not depend
    no_gradient   the loss depends on no weight
    symmetric     layers whose units are copies of one another, and stay so
    inputs        the data
    loss_fn       the loss, in words
    example       an input such as the model was given, as Python
    notes         what could not be examined, in sentences

    The rest are facts of one kind each, `None` where they were not looked at: see `unvanish.diagnosis.evidence`.
    """

    table: Table = field(default_factory=Table)
    stronger: Table | None = None
    learned: bool | None = None
    had_learned: bool = False
    learns_at: tuple[float, ...] = ()
    tried: bool = False
    exhausted: bool = False
    behind: bool = False
    skill: float | None = None
    lost: bool = False
    memorised: bool = False
    learnable: bool | None = None
    standardised: Standardised | None = None
    changes: Mapping[str, bool] = field(default_factory=dict)
    diverged: bool = False
    cut: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    no_gradient: bool = False
    symmetric: tuple[str, ...] = ()
    inputs: Inputs | None = None
    loss_fn: str = "the loss"
    example: str = ""
    notes: tuple[str, ...] = ()
    origin: Origin | None = None
    ending: Ending | None = None
    targets: Targets | None = None
    by_loss: bool = False
    contrast: Contrast | None = None
    predicts: bool = False
    differentiates: bool = False
    no_leak_seen: str = ""
    invalid: str = ""
    compared: bool = False
    parameters: Parameters | None = None
    broadcast: Shapes | None = None
    leak: Leak | None = None
    evaluated: Evaluated | None = None
    precision: Precision | None = None
    predictions: Predictions | None = None
    simple: Simple | None = None
    loop: Loop | None = None

    def of(self, quantity: str) -> Array:
        """By layer, [L]; NaN where it was not measured."""
        return self.table.row(quantity)

    @property
    def fails_at_every_rate_tried(self) -> bool:
        return self.learned is False and self.exhausted and not self.learns_at and not any(self.changes.values())

    @property
    def fails_for_sure(self) -> bool:
        """Nothing that was tried helps, it predicts next to nothing, and a simple model learns from the same data."""
        return (
            self.fails_at_every_rate_tried
            and self.learnable is True
            and self.skill is not None
            and self.skill < NEXT_TO_NOTHING
        )

    @property
    def largest_step(self) -> float:
        """‖ΔW‖/‖W‖ of the layer that moves most."""
        return float(np.nan_to_num(self.of("update_ratio"), nan=0.0).max(initial=0.0))

    @property
    def fails_at_every_rate(self) -> bool:
        """It does not learn, and would not at any other rate."""
        return self.learned is False and self.exhausted and not self.learns_at and self.learnable is not False


# Faults of the flow and of the rate follow from whatever keeps a network from learning.
CONSEQUENCES: tuple[Kind, ...] = (
    "vanishing", "collapse", "exploding", "dead", "saturated", "lr_low", "lr_high", "symmetric", "input_scale",
)  # fmt: skip


NEXT_TO_NOTHING = 0.15  # of what can be predicted


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
