"""Train some layers at a time: the gradient never has to cross the whole network at once.

    net_k = output_k ∘ f_k ∘ … ∘ f_1,    first f_1 … f_{k−1} frozen, then all of it free

The network is built from sub-models. Each new one is trained on top of what is there, first with
the rest frozen, so that the gradient only has to cross the new layers, then all together, from a
state where the lower layers carry a signal already (greedy layer-wise training: Bengio et al. 2007,
section 2; Hinton, Osindero & Teh 2006).

Limitations: the first sub-model must itself be shallow enough to learn, and be given the time:
if it vanishes, what is added on top of it learns from noise. With 13, 20 or 30 epochs for each of the first
six trainings in place of 100, the published network stays at chance. And it costs: seven trainings
instead of one, 900 epochs instead of 300.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field

from unvanish.core.errors import NothingToDo, RecipeError
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup, Stage
from unvanish.core.values import Count, validated
from unvanish.modules.freeze import stage_network


@final
@validated
class TrainSomeLayers(Remedy):
    """Pile up sub-models of so many hidden layers each, input side first, and train after each.

    Every training starts with a new output layer and a new optimizer and takes `share` of the
    recipe's epochs, the last one all of them.
    """

    kind: ClassVar[str] = "train-some-layers"

    groups: tuple[Count, ...] = (2, 2, 2, 1)
    share: Annotated[float, Field(gt=0, le=1)] = 1 / 3  # 100 of the published 300 epochs

    def apply(self, setup: Setup) -> Setup:
        sizes, depth = "+".join(map(str, self.groups)), len(setup.blocks)
        if len(self.groups) < 2:
            raise NothingToDo("one sub-model is the ordinary training")
        if len(setup.stages) > 1:
            raise NothingToDo("the network is trained in stages already")
        if sum(self.groups) > depth:
            raise RecipeError(f"sub-models of {sizes} layers are deeper than the network of {depth} hidden layers")
        if sum(self.groups) < depth:
            raise RecipeError(f"sub-models of {sizes} layers leave {depth - sum(self.groups)} of {depth} out")
        init = replace(setup.init, groups=self.groups) if setup.init else None
        staged = replace(setup, init=init, stages=self._stages())
        with torch.random.fork_rng(devices=[]):
            for stage in staged.stages:  # refuse now what the engine could not build later
                stage_network(staged, staged.model, stage)
        return staged

    def _stages(self) -> tuple[Stage, ...]:
        stages: list[Stage] = []
        below = 0
        for size in self.groups:
            if below:
                stages.append(Stage(below + size, frozen=below, share=self.share, fresh_output=True))
            stages.append(Stage(below + size, share=self.share, fresh_output=True))
            below += size
        return (*stages[:-1], replace(stages[-1], share=1.0))

    def __str__(self) -> str:
        return f"sub-models of {'+'.join(map(str, self.groups))} layers, trained in turn"
