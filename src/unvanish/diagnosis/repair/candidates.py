"""Which changes to try: those that the findings prescribe, causes first, then those that usually help, then pairs."""

from collections.abc import Iterator, Sequence

from unvanish.core.errors import UnvanishError
from unvanish.core.finding import Finding, Fix
from unvanish.core.remedy import Remedy
from unvanish.diagnosis.diagnosis import Diagnosis
from unvanish.diagnosis.fixes import DRAWN_ANEW, rate
from unvanish.diagnosis.repair.change import Change, Part
from unvanish.remedies import (
    BetterActivation,
    BetterOptimizer,
    CentredCriticalInit,
    HeInit,
    InputStandardisation,
    NormalizeInside,
    SkipEveryBlock,
    TargetStandardisation,
    WithoutDropout,
)

FLOW = ("vanishing", "collapse", "exploding", "dead", "saturated", "symmetric")
STEPS = ("lr_high", "lr_low", "regularisation")
MENDED_BY_HAND = ("gradients_accumulate", "no_step", "broken_graph", "data_order", "labels", "batch_leak", "non_finite")
NORM, ADAM = NormalizeInside("batch-norm", learned=True), BetterOptimizer("Adam", 0.001)
USUAL: tuple[Part, ...] = (CentredCriticalInit(), HeInit(), ADAM, rate(0.1), NORM, SkipEveryBlock())
STRUCTURE = (SkipEveryBlock(), NORM)
BESIDE = Change.of((NORM, ADAM))  # what is often advised, whatever it is
UNIVERSAL = Change.of((SkipEveryBlock(), NORM, ADAM, WithoutDropout()))  # mends most, by four changes
MOST = 10  # single changes


def singles(diagnosis: Diagnosis) -> list[Change]:
    """Of the findings that are sure; of an unsure diagnosis, of all. The most certain in front, without repetition."""
    sure = [one for one in diagnosis.findings if one.sure] or list(diagnosis.findings)
    parts = [part for finding in sure for part in _prescribed(finding)]
    if not sure or any(finding.kind in (*FLOW, *STEPS) for finding in sure):
        parts += USUAL
    return [Change((part,)) for part in _without_repetition(parts)][:MOST]


def by_hand(diagnosis: Diagnosis) -> Finding | None:
    """The cause, where no change of the setup mends it."""
    first = diagnosis.primary
    if first is None or any(True for _ in _prescribed(first)):
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
    kinds = {type(part) for part in best.parts}
    more = [Change.of((*best.parts, one)) for one in (*STRUCTURE, ADAM, WithoutDropout()) if type(one) not in kinds]
    return [*more, UNIVERSAL]


def _prescribed(finding: Finding) -> Iterator[Part]:
    if finding.kind == "target_scale" and "std" in finding.evidence:  # which answers in the targets' own units
        yield TargetStandardisation(finding.evidence["mean"], finding.evidence["std"])
        return
    if finding.kind == "input_scale" and finding.evidence.get("std", 0.0) > 0:
        yield InputStandardisation(finding.evidence["mean"], finding.evidence["std"])
        return
    if finding.kind == "symmetric":
        yield DRAWN_ANEW
    for one in finding.prescriptions:
        if isinstance(one, Remedy) or (isinstance(one, Fix) and one.where == "setup"):
            yield one


def _without_repetition(parts: Sequence[Part]) -> list[Part]:
    found: list[Part] = []
    for part in parts:
        if not any(type(part) is type(one) and (part == one or isinstance(part, SAME_BY_KIND)) for one in found):
            found.append(part)
    return found


SAME_BY_KIND = (BetterActivation, CentredCriticalInit, HeInit)


def _compatible(one: Part, other: Part) -> bool:
    """Two of one class would be one after the other, and so would two ways to draw the weights."""
    if isinstance(one, Fix) or isinstance(other, Fix):
        return one != other
    return type(one) is not type(other) and not (_draws(one) and _draws(other))


def _draws(part: Part) -> bool:
    return isinstance(part, CentredCriticalInit | HeInit)


def refused(error: UnvanishError) -> str:
    """Why a change could not be made, in a sentence."""
    return " ".join(str(error).split())
