"""Which changes to try: those that the findings prescribe, causes first, then those that usually help, then pairs."""

from collections.abc import Iterator, Sequence

from unvanish.core.errors import UnvanishError
from unvanish.core.finding import Finding, Fix
from unvanish.core.remedy import InitRemedy, Remedy
from unvanish.diagnosis.diagnosis import Diagnosis
from unvanish.diagnosis.fixes import DRAWS
from unvanish.diagnosis.repair.change import Change, Part
from unvanish.remedies import (
    BetterOptimizer,
    CentredCriticalInit,
    HeInit,
    HighwayGates,
    LearningRate,
    Muon,
    NormalizeInside,
    ReZero,
    SkipConnection,
    SkipEveryBlock,
    WithoutDropout,
)

FLOW = ("vanishing", "collapse", "exploding", "dead", "saturated", "symmetric")
STEPS = ("lr_high", "lr_low", "regularisation")
NORM, ADAM = NormalizeInside("batch-norm", learned=True), BetterOptimizer("Adam", 0.001)
USUAL: tuple[Part, ...] = (CentredCriticalInit(), HeInit(), ADAM, LearningRate(0.1), NORM, SkipEveryBlock())
ALTERNATIVES = ((BetterOptimizer, LearningRate, Muon), (SkipConnection, SkipEveryBlock, ReZero, HighwayGates))
STRUCTURE = (SkipEveryBlock(), NORM)
BESIDE = Change.of((NORM, ADAM))  # what is often advised, whatever it is
UNIVERSAL = Change.of((SkipEveryBlock(), NORM, ADAM, WithoutDropout()))  # mends most, by four changes
MOST = 10  # single changes
CERTAIN = 0.8  # of a diagnosis: a fault that is taken out before anything else is tried


def singles(diagnosis: Diagnosis) -> list[Change]:
    """Of the findings that are sure; of an unsure diagnosis, of all. The most certain in front, without repetition."""
    sure = [one for one in diagnosis.findings if one.sure] or list(diagnosis.findings)
    parts = [part for finding in sure for part in _prescribed(finding)]
    if not sure or causes(diagnosis) or any(finding.kind in (*FLOW, *STEPS) for finding in sure):
        slow = any(finding.kind == "lr_low" for finding in sure)
        parts += [part for part in USUAL if not (slow and isinstance(part, LearningRate))]
    return [Change((part,)) for part in dict.fromkeys(parts)][:MOST]


def causes(diagnosis: Diagnosis) -> list[Change]:
    """Of a certain fault of the loss, the shapes or the data, what takes it out, best first: no repair may leave it in.

    Empty where the fault lies in the flow or in the steps, which changes of many kinds mend.
    """
    first = diagnosis.primary
    if first is None or first.kind in (*FLOW, *STEPS) or first.certainty < CERTAIN:
        return []
    return [Change((part,)) for part in _prescribed(first)]


def by_hand(diagnosis: Diagnosis) -> Finding | None:
    """The cause, where no change of the setup mends it: it has none, and is none of those that others may mend."""
    first = diagnosis.primary
    if first is None or first.kind in (*FLOW, *STEPS) or any(True for _ in _prescribed(first)):
        return None
    return first


def pairs(best: Sequence[Change]) -> list[Change]:
    """Of the best single changes, two at a time, and each with Adam, whose rate suits most networks."""
    found: dict[Change, None] = {}
    for index, one in enumerate(best):
        for other in best[index + 1 :]:
            if _compatible(one.parts[0], other.parts[0]):
                found[Change.of((*one.parts, *other.parts))] = None
    for one in [*(change.parts[0] for change in best), *STRUCTURE]:
        if _compatible(one, ADAM):
            found[Change.of((one, ADAM))] = None
    return list(found)


def extended(best: Change) -> list[Change]:
    """The best change with one more part, and the four that mend most: where two parts do not do."""
    more = [one for one in (*STRUCTURE, ADAM, WithoutDropout()) if all(_compatible(one, part) for part in best.parts)]
    return [*(Change.of((*best.parts, one)) for one in more), UNIVERSAL]


def _prescribed(finding: Finding) -> Iterator[Part]:
    for one in finding.prescriptions:
        if isinstance(one, Remedy) or (isinstance(one, Fix) and one.where == "setup"):
            yield one


def _compatible(one: Part, other: Part) -> bool:
    """Not two of one class, two rates, two kinds of skips, or two ways to draw the weights: the later would do."""
    if _draws(one) and _draws(other):
        return False
    if any(isinstance(one, kinds) and isinstance(other, kinds) for kinds in ALTERNATIVES):
        return False
    return one != other if isinstance(one, Fix) or isinstance(other, Fix) else type(one) is not type(other)


def _draws(part: Part) -> bool:
    return isinstance(part, InitRemedy) or part in DRAWS


def refused(error: UnvanishError) -> str:
    """Why a change could not be made, in a sentence."""
    return " ".join(str(error).split())
