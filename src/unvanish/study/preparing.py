"""What is to be done of the runs that are wanted, by where each stands in the store."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unvanish.core.errors import DamagedError
from unvanish.core.recipe import Recipe
from unvanish.store.events import Event
from unvanish.store.protocol import ENDED, Header, RunStore, Start
from unvanish.study.jobs import Queued, Wanted
from unvanish.study.stream import Stream
from unvanish.study.training import header, shape_of_recipe, size_of_recipe


@dataclass(frozen=True)
class Preparation:
    """As `train_all` was told.

    most  runs in an ensemble
    here  whether they are trained on this machine
    """

    store: RunStore
    device: torch.device
    stream: Stream
    most: int
    measure_every: int | None
    here: bool
    fresh: bool
    restart_damaged: bool
    keep_weights: bool

    def __call__(self, wanted: Sequence[Wanted]) -> tuple[list[Queued], list[Queued], list[str]]:
        """What can be trained here, what is trained elsewhere, and what has ended in the store already."""
        different = {one.recipe.digest(): one for one in wanted}
        shapes = {digest: shape_of_recipe(one.recipe) if self.most > 1 else None for digest, one in different.items()}
        known = self.store.summaries() if self.most > 1 and not self.fresh else []
        ended = {run.digest for run in known if run.outcome.state in ENDED}
        alike = Counter(shape for digest, shape in shapes.items() if digest not in ended)
        waiting, elsewhere, ended_here = list[Queued](), list[Queued](), list[str]()
        for digest, (recipe, until) in different.items():
            shape = shapes[digest]
            ensemble = shape is not None and alike[shape] > 1
            about = header(recipe, self.device, self.measure_every, ensemble=ensemble, here=self.here)
            start = self._standing(recipe, about)
            if start.ended and not self.fresh:
                self.stream.tell(Event("known", digest))
                ended_here.append(digest)
                continue
            total = sum(recipe.stage_epochs())
            anew = self.fresh and not start.elsewhere
            run = Queued(
                recipe,
                digest,
                about,
                shape,
                epochs=total,
                size=size_of_recipe(recipe),
                done=0 if anew else start.epochs,
                until=until if until and until < total else None,
                fresh=anew,
            )
            (elsewhere if start.elsewhere else waiting).append(run)
        return waiting, elsewhere, ended_here

    def _standing(self, recipe: Recipe, about: Header) -> Start:
        """Where a run stands; at its beginning, where what is kept of it is damaged and that is to be forgotten."""
        try:
            return self.store.begin(recipe, about, claim=False)
        except DamagedError:
            if not (self.restart_damaged or self.fresh):
                raise
            return self.store.begin(recipe, about, fresh=True, claim=False)
