"""Gradual unfreezing: the last layers learn first, then more and more of the layers before them.

    stage k trains blocks L − k·s … L,    the last stage all of them

A layer that changes while those behind it are still random learns from noise, and forgets what it was pretrained for
(Howard & Ruder 2018, "Universal language model fine-tuning", section 3.3).

Limitations: it is for networks whose first layers are good already. From random weights the last layers learn from
what the first make of the inputs by chance, which in a vanishing network is nothing: use `TrainSomeLayers` there.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, final

from pydantic import Field

from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup, Stage
from unvanish.core.values import Count, validated


@final
@validated
class GradualUnfreezing(Remedy):
    """Train with all but the last `blocks` hidden blocks frozen, then with `blocks` fewer, until none is.

    Each training but the last takes `share` of the recipe's epochs.
    """

    kind: ClassVar[str] = "gradual-unfreezing"

    blocks: Count = 1
    share: Annotated[float, Field(gt=0, le=1)] = 0.1

    def apply(self, setup: Setup) -> Setup:
        depth = len(setup.blocks)
        if len(setup.stages) > 1:
            raise NothingToDo("the network is trained in stages already")
        if self.blocks >= depth:
            raise NothingToDo(f"the network has {depth} hidden blocks, and all are trained from the first stage on")
        frozen = range(depth - self.blocks, 0, -self.blocks)
        stages = (*(Stage(depth, frozen=one, share=self.share) for one in frozen), Stage(depth))
        return replace(setup, stages=stages)

    def __str__(self) -> str:
        return f"unfreezing {self.blocks} blocks at a time, the last first"
