"""`Setup`: everything that decides a training before its first step. A remedy is a map from one to another."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from unvanish.core.errors import RecipeError
from unvanish.core.optimizer import Optimizer
from unvanish.core.structure import Block, find_blocks

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Stage:
    """One training: the first `depth` blocks are in the network, the first `frozen` of them stand still.

    `share` is its length as a share of the recipe's epochs. With `fresh_output` it starts with a new
    output layer in PyTorch's default initialisation.
    """

    depth: int
    frozen: int = 0
    share: float = 1.0
    fresh_output: bool = False

    def epochs(self, total: int) -> int:
        """How many epochs of a recipe of `total` this stage takes, at least one.

        >>> Stage(depth=2, share=1 / 3).epochs(300)
        100
        """
        return max(1, round(total * self.share))


@dataclass(frozen=True)
class Init:
    """How weights are drawn: each from N(0, `std`²) and every bias 0; `std=None` keeps each layer's default.

    `groups` counts the blocks that are constructed and then initialised together, input side first.
    `None` is one group of the whole network, its output layer included.
    """

    std: float | None
    groups: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Setup:
    """A training, decided.

    model      any `nn.Module`
    blocks     its hidden blocks, input side first, each one or more dotted module names
    output     the dotted name of the layer behind the last block
    example    an input batch, for looking at shapes
    init       how the weights are drawn when training begins; `None` leaves the model's own
    optimizer  makes an optimizer over the parameters that it is given
    loss       takes (output, target)
    stages     the trainings, in order
    """

    model: nn.Module
    blocks: tuple[Block, ...]
    output: str
    example: Tensor
    init: Init | None
    optimizer: OptimizerFactory
    loss: Loss
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        for stage in self.stages:
            if not 0 <= stage.frozen < stage.depth <= len(self.blocks):
                raise RecipeError(
                    f"a stage of {stage.depth} blocks with {stage.frozen} frozen does not fit a network "
                    f"of {len(self.blocks)} blocks"
                )

    @classmethod
    def of(
        cls,
        model: nn.Module,
        example: Tensor,
        *,
        optimizer: OptimizerFactory | None = None,
        loss: Loss = functional.cross_entropy,
        blocks: tuple[Block, ...] | None = None,
        output: str | None = None,
    ) -> "Setup":
        """The setup of a model of your own, whose weights are kept as they are.

        Its blocks are found by running `example` through a copy, unless you name them.
        """
        if blocks is None or output is None:
            found, last = find_blocks(model, example)
            blocks, output = blocks or found, output or last
        return cls(
            model=model,
            blocks=blocks,
            output=output,
            example=example,
            init=None,
            optimizer=optimizer or Optimizer("SGD", 0.01),
            loss=loss,
            stages=(Stage(depth=len(blocks)),),
        )
