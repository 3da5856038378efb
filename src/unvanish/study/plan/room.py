"""What a study's budget of runs has room for."""

from collections.abc import Sequence

from unvanish.study.jobs import Wanted
from unvanish.study.plan.known import InStore
from unvanish.study.plan.parts import MOST_RUNS
from unvanish.study.plan.study import Study
from unvanish.study.plan.tried import tried
from unvanish.study.plan.wanted import wanted


class Room:
    """Of a study with what its store has: runs that are there already count, and go on."""

    def __init__(self, study: Study, known: InStore) -> None:
        self.most = study.budget.runs
        self.left_out = set[str]()
        if self.most < MOST_RUNS:
            every = {recipe.digest() for _, _, recipe in tried(study, known)}
            self.runs = every & known.outcomes.keys()

    def of(self, found: Sequence[Wanted]) -> list[Wanted]:
        """Of these, what there is room for, which is then taken."""
        if self.most >= MOST_RUNS:  # which no study has more of
            return list(found)
        kept = []
        for one in found:
            digest = one.recipe.digest()
            if digest in self.runs or len(self.runs) < self.most:
                self.runs.add(digest)
                kept.append(one)
            else:
                self.left_out.add(digest)
        return kept


def next_runs(study: Study, known: InStore) -> tuple[list[Wanted], bool]:
    """What the next call of `study run` begins with, and whether the budget of runs leaves some of it out."""
    known = known.without_failed()
    room = Room(study, known)
    return room.of(wanted(study, known)), bool(room.left_out)
