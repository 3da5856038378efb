"""Class weights: errors on the rare classes count as much as those on the common one.

    L = Σ_n w_(y_n) l_n/Σ_n w_(y_n),    w_c = N/(C N_c)

Where 99 of 100 samples are of one class the loss is content with saying so always: the weights make every class
count alike (King & Zeng 2001, section 4; the "balanced" weights of scikit-learn).

Limitations: the outputs are then no probabilities of the data as they are: the rare classes are overstated by their
weight. Of a handful of rare samples the weights make noise.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, final

from pydantic import Field
from torch import nn
from torch.nn import functional

from unvanish.core.errors import NothingToDo, RecipeError
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.scaling import WeightedCrossEntropy


@final
@validated
class ClassWeights(Remedy):
    """Weigh each class in a cross-entropy over classes."""

    kind: ClassVar[str] = "class-weights"

    weights: tuple[Annotated[float, Field(gt=0)], ...] = (1.0, 2.0)

    def apply(self, setup: Setup) -> Setup:
        loss = setup.loss_fn
        if isinstance(loss, WeightedCrossEntropy):
            raise NothingToDo("the classes are weighed already")
        if loss is not functional.cross_entropy and type(loss) is not nn.CrossEntropyLoss:
            raise RecipeError("class weights are for cross_entropy over classes; this loss is another one")
        if isinstance(loss, nn.CrossEntropyLoss) and (loss.weight is not None or loss.label_smoothing):
            raise NothingToDo("the loss has weights, or label smoothing, of its own")
        outputs = getattr(setup.model.get_submodule(setup.output), "out_features", len(self.weights))
        if outputs != len(self.weights):
            raise RecipeError(
                f"the network has {outputs} outputs, and there are weights for {len(self.weights)} classes"
            )
        return replace(setup, loss_fn=WeightedCrossEntropy(self.weights))

    def __str__(self) -> str:
        return "class weights in the loss"
