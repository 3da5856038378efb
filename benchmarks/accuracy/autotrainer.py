"""AutoTrainer's repairs, in the order in which it tries them (its default strategy, 'balance').

Zhang et al. 2021, "AutoTrainer: An Automatic DNN Training Problem Detection and Repair System", and its source. While
its detectors (`rivals.py`) name a problem, the next change for that problem is tried; the first after which the
problem is gone is kept, and up to three problems are treated one after another. Its changes of the batch size, of the
rate at a plateau and of noise at the input are left out, and its random choices are fixed: Xavier's initial weights
(LeCun's, in layers of equal width), Adam for another optimizer.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from rivals import autotrainer, watched
from unvanish.core.errors import UnvanishError
from unvanish.diagnosis.repair.change import Change, Part
from unvanish.remedies import (
    BetterActivation,
    BetterOptimizer,
    GradientClipping,
    HeInit,
    LearningRate,
    NormalizeInside,
    XavierInit,
)

SELU, RELU = (BetterActivation("SELU"), XavierInit()), (BetterActivation("ReLU"), HeInit())
TANH, LEAKY = (BetterActivation("Tanh"), HeInit()), (BetterActivation("LeakyReLU"),)
NORM, ADAM, CLIP = (
    (NormalizeInside("batch-norm", learned=True),),
    (BetterOptimizer("Adam", 0.001),),
    (GradientClipping(10.0),),
)
ORDER: dict[str, tuple[tuple[Part, ...], ...]] = {
    "vanishing": (SELU, RELU, NORM),
    "exploding": (SELU, RELU, CLIP, TANH, NORM),
    "dead": (SELU, NORM, (XavierInit(),), LEAKY),
    "lr_high": (ADAM, (LearningRate(0.1),), (LearningRate(0.01),), (BetterOptimizer("SGD", 0.01, {"momentum": 0.9}),)),
    "lr_low": (ADAM, (LearningRate(10.0),), (LearningRate(100.0),)),
}
PROBLEMS = 3

Made = Callable[[], tuple[nn.Module, torch.optim.Optimizer]]


def parts_by_autotrainer(
    made: Made, loss_fn: Callable[[Any, Any], torch.Tensor], batches: Sequence[tuple[Any, Any]]
) -> tuple[Part, ...]:
    """What it changes of the network that `made` gives; empty where its detectors name nothing or nothing helps.

    batches   of one training, after which its detectors are asked
    """

    def flags(parts: tuple[Part, ...]) -> set[str]:
        model, optimizer = made()
        treated = Change(parts).made(model, optimizer, loss_fn, batches[0][0], 0)
        return autotrainer(watched(treated.model, treated.optimizer, treated.loss_fn, batches))

    chosen: tuple[Part, ...] = ()
    found = flags(chosen)
    for _ in range(PROBLEMS):
        problem = next((one for one in ORDER if one in found), None)
        if problem is None:
            break
        for more in ORDER[problem]:
            try:
                after = flags((*chosen, *more))
            except UnvanishError:  # it does not apply
                continue
            if problem not in after:
                chosen, found = (*chosen, *more), after
                break
        else:
            break
    return chosen
