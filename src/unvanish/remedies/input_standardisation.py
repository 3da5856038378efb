"""Standardised inputs: the first layer gets numbers of mean 0 and standard deviation 1.

    x ← (x − mean)/std

The gradient of a first weight is proportional to its input, and the curvature to its square: inputs of 0 to 255 make
the loss ten thousand times steeper along some weights than along the rest (LeCun et al. 1998, "Efficient backprop",
section 4.3).

Limitations: mean and std are given as numbers, of the training data; of other data they are another's. One pair for
all features does not help where the features differ among themselves: give one number a feature.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, final

from pydantic import AfterValidator

from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.scaling import Numbers, StandardisedInput, as_tuple, positive, within


@final
@validated
class InputStandardisation(Remedy):
    """Put (x − mean)/std in front of the model, for every floating-point input; one number, or one a feature."""

    kind: ClassVar[str] = "input-standardisation"

    mean: Numbers = 0.5
    std: Annotated[Numbers, AfterValidator(positive)] = 0.25

    def apply(self, setup: Setup) -> Setup:
        if isinstance(setup.model, StandardisedInput):
            raise NothingToDo("the model's inputs are standardised already")
        model = StandardisedInput(setup.model, as_tuple(self.mean), as_tuple(self.std))
        blocks, output = within(setup, "model")
        return replace(setup, model=model, blocks=blocks, output=output)

    def __str__(self) -> str:
        return "standardised inputs"
