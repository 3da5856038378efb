"""Standardised targets: the network is trained on numbers of mean 0 and standard deviation 1.

    loss((o − mean)/std, (t − mean)/std),    o = mean + std · (what the network gives)

The outputs of a network start near 0 with a size of about 1; to reach prices of 250,000 the last bias has to go
there step by step, and until then the loss says nothing about the inputs (LeCun et al. 1998, "Efficient backprop",
section 4.5; Bishop 1995, section 8.2).

Limitations: the model answers in the targets' own units, and the loss that it is trained with is in scaled ones:
compare losses by the one that you had. A loss on the ratio of targets, or on their logarithm, means another thing of
scaled ones. Where the mean is a million standard deviations, float32 cannot hold what differs.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, final

from pydantic import AfterValidator

from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.scaling import Numbers, ScaledLoss, UnscaledOutput, as_tuple, positive, within


@final
@validated
class TargetStandardisation(Remedy):
    """Take the loss of (output − mean)/std and (target − mean)/std; the model gives mean + std times what it gave.

    One number, or one for each output.
    """

    kind: ClassVar[str] = "target-standardisation"

    mean: Numbers = 0.0
    std: Annotated[Numbers, AfterValidator(positive)] = 2.0

    def apply(self, setup: Setup) -> Setup:
        if isinstance(setup.loss_fn, ScaledLoss):
            raise NothingToDo("the loss takes standardised targets already")
        mean, std = as_tuple(self.mean), as_tuple(self.std)
        model = UnscaledOutput(setup.model, mean, std)
        blocks, output = within(setup, "model")
        loss_fn = ScaledLoss(setup.loss_fn, mean, std)
        return replace(setup, model=model, blocks=blocks, output=output, loss_fn=loss_fn)

    def __str__(self) -> str:
        return "standardised targets"
