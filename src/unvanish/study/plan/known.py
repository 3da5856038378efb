"""What a study knows of its trainings when it decides what comes next."""

import logging
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace
from typing import Protocol, Self

from unvanish.core.curve import Outcome
from unvanish.core.errors import DamagedError
from unvanish.core.output import printable
from unvanish.core.recipe import Recipe
from unvanish.store.protocol import DAMAGED, ENDED, RunStore
from unvanish.store.record import Record

log = logging.getLogger("unvanish")


class Known(Protocol):
    def __call__(self, recipe: Recipe) -> Outcome | None:
        """The outcome of a run that has ended, in whatever way; `None` of any other."""
        ...

    def after(self, recipe: Recipe, epochs: int) -> float | None:
        """The accuracy after so many epochs in all; `None` where it has not come that far."""
        ...


class Nothing:
    """Before anything is trained."""

    def __call__(self, recipe: Recipe) -> Outcome | None:
        return None

    def after(self, recipe: Recipe, epochs: int) -> float | None:
        return None


class InStore:
    """What a store has. It is read once; `read_again` reads a run anew."""

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.outcomes = {one.digest: one.outcome for one in store.summaries()}
        self.curves: dict[str, tuple[float, ...]] = {}
        self.left_out = set[str]()  # damaged ones that were asked for

    def __call__(self, recipe: Recipe) -> Outcome | None:
        found = self.outcomes.get(recipe.digest())
        return found if found is not None and found.state in (*ENDED, "failed") else None

    def after(self, recipe: Recipe, epochs: int) -> float | None:
        digest = recipe.digest()
        if digest not in self.outcomes:
            return None
        if digest not in self.curves:
            record = self.record(digest)
            self.curves[digest] = () if record is None else tuple(row.val_acc for row in record.epochs)
        curve, state = self.curves[digest], self.outcomes[digest].state
        if len(curve) > epochs or (len(curve) == epochs and state != "diverged"):
            return curve[epochs - 1]
        return 0.0 if state in ("diverged", "failed") else None

    def record(self, digest: str) -> Record | None:
        """Of a run that it has; `None`, with a warning the first time, where that is damaged."""
        record = self._intact(digest)
        if record is None and digest not in self.left_out:
            self.left_out.add(digest)
            log.warning("%s is left out: %s", digest[:8], printable(str(self.outcomes[digest].error)))
        return record

    def _intact(self, digest: str) -> Record | None:
        if self.outcomes[digest].state != DAMAGED:
            try:
                return self.store.record(digest, weights=False)
            except DamagedError as error:
                self.outcomes[digest] = replace(self.outcomes[digest], state=DAMAGED, error=str(error))
        return None

    def without_failed(self) -> Self:
        """The same, but that runs that failed are not there: the next call of `study run` tries them again."""
        found = copy(self)
        found.outcomes = {digest: one for digest, one in self.outcomes.items() if one.state != "failed"}
        found.curves = {digest: one for digest, one in self.curves.items() if digest in found.outcomes}
        return found

    def find_damaged(self, recipes: Iterable[Recipe]) -> None:
        """Read the runs of these recipes, as far as it has them, so that those that are damaged are known to be."""
        for digest in {recipe.digest() for recipe in recipes} & self.outcomes.keys():
            self._intact(digest)

    def read_again(self, digest: str) -> None:
        """A run has gone on."""
        record = self.store.record(digest, weights=False)
        self.outcomes[digest] = record.outcome
        self.curves[digest] = tuple(row.val_acc for row in record.epochs)


def state_of(outcome: Outcome | None) -> str:
    """As users are told: what a store has of a run before its first epoch is only that it is to be trained."""
    begun = outcome is not None and (outcome.epochs or outcome.state != "unfinished")
    return outcome.state if outcome is not None and begun else "not begun"


def accuracies(known: Known, recipes: Sequence[Recipe], by: str = "last") -> list[float] | None:
    """One for each run, 0 where it diverged. `None` where some have not ended, or failed, which says nothing."""
    outcomes = [known(recipe) for recipe in recipes]
    if any(outcome is None or outcome.state == "failed" for outcome in outcomes):
        return None
    return [accuracy(outcome, by) for outcome in outcomes if outcome is not None]


def accuracy(outcome: Outcome, by: str = "last") -> float:
    """A training that diverged has none, whatever it had before."""
    found = outcome.best_val_acc if by == "best" else outcome.last_val_acc
    return found if found is not None and outcome.state == "finished" else 0.0
