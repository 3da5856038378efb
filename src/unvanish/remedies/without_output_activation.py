"""The activation behind the output layer taken out, where the loss has its own.

    CrossEntropyLoss(z) = −z_y + log Σ exp z,    so of p = softmax(z):    −p_y + log Σ exp p ≥ log(1 + (C − 1)/e)

A softmax in front of it bounds the loss from below, by 1.46 for ten classes, and its gradient is that of a softmax
of a softmax: at most a few percent of the right one (Bridle 1990, and PyTorch's documentation of CrossEntropyLoss
and BCEWithLogitsLoss). In front of a regression a ReLU or a sigmoid bounds what can be reached.

Limitations: it finds modules only, not `torch.softmax(…)` in a forward method; and where the loss takes
probabilities (NLLLoss, BCELoss) the loss has to be changed as well.
"""

from dataclasses import replace
from typing import ClassVar, final

from torch import nn

from unvanish.core.activations import is_activation
from unvanish.core.blocks import forward_order
from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.replace import replaced

MIXING = (nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.Softmin)


@final
@validated
class WithoutOutputActivation(Remedy):
    """Put an identity in the place of the activation modules that run behind the output layer."""

    kind: ClassVar[str] = "without-output-activation"

    def apply(self, setup: Setup) -> Setup:
        order = forward_order(setup.model, setup.example)
        behind = order[len(order) - order[::-1].index(setup.output) :] if setup.output in order else []
        modules = dict(setup.model.named_modules())
        found = [n for n in behind if is_activation(modules[n]) or isinstance(modules[n], MIXING)]
        if not found:
            raise NothingToDo("no activation module runs behind the output layer")
        return replace(setup, model=replaced(setup.model, dict.fromkeys(found, lambda _: nn.Identity())))

    def __str__(self) -> str:
        return "no activation behind the output layer"
