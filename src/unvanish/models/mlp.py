"""The multilayer perceptron of the study: 784 → 7 × 128 → 10, a sigmoid after each hidden layer."""

from collections import OrderedDict
from itertools import pairwise
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import nn

from unvanish.core.activations import activation_name, make_activation
from unvanish.core.arguments import MOST
from unvanish.core.errors import RecipeError
from unvanish.core.recipe import Built, Network
from unvanish.core.values import Options, Width, validated


@final
@validated
class MLP(Network):
    """`inputs` → one `Linear` and activation for each width in `hidden` → `classes` (a `Linear`).

    Blocks are called hidden1, hidden2, …, each with a `linear` and an `activation`; the last layer `output`.
    """

    kind: ClassVar[str] = "mlp"

    hidden: Annotated[tuple[Width, ...], Field(min_length=1)] = (128,) * 7
    activation: str = "Sigmoid"
    options: Options = Field(default_factory=dict)
    inputs: Width = 28 * 28
    classes: Width = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", activation_name(self.activation))
        make_activation(self.activation, self.options)
        widths = (self.inputs, *self.hidden, self.classes)
        weights = sum(a * b for a, b in pairwise(widths))
        if weights > MOST:
            raise RecipeError(f"an MLP of {weights:,} weights is too large: at most {MOST:,}, 4 GB")

    def build(self) -> Built:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        fan_ins = (self.inputs, *self.hidden)
        for number, (fan_in, fan_out) in enumerate(zip(fan_ins, self.hidden, strict=False), start=1):
            layers[f"hidden{number}"] = nn.Sequential(
                OrderedDict(
                    linear=nn.Linear(fan_in, fan_out),
                    activation=make_activation(self.activation, self.options),
                )
            )
        blocks = tuple((name,) for name in layers)
        layers["output"] = nn.Linear(self.hidden[-1], self.classes)
        return Built(nn.Sequential(layers), blocks, "output", torch.zeros(2, self.inputs))

    def __str__(self) -> str:
        widths = set(self.hidden)
        shape = f"{len(self.hidden)} x {self.hidden[0]}" if len(widths) == 1 else "-".join(map(str, self.hidden))
        return f"{shape} {self.activation.lower()}"
