"""`Setup`: everything that decides a training before its first step. A remedy is a map from one to another."""

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unvanish.core.arguments import in_brief
from unvanish.core.blocks import Block, find_blocks
from unvanish.core.errors import RecipeError, UnvanishError
from unvanish.core.init import Init
from unvanish.core.optimizer import Optimizer, SameOptimizer

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Loss = Callable[[Any, Any], Tensor]


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


@dataclass(frozen=True, eq=False)
class Setup:
    """A training, decided.

    model      any `nn.Module`
    blocks     its hidden blocks, input side first, each one or more dotted module names
    output     the dotted name of the layer behind the last block
    example    an input batch: for looking at shapes, and for initial weights that depend on the data. A tensor; a tuple
               or a dict for a model of several inputs
    init       how the weights are drawn by `build()`, that is, when training begins; `None` leaves the model's own
    optimizer  makes an optimizer over the parameters that it is given
    loss_fn    takes (output, target)
    stages     the trainings, in order
    """

    model: nn.Module
    blocks: tuple[Block, ...]
    output: str
    example: Any
    init: Init | None
    optimizer: OptimizerFactory
    loss_fn: Loss
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        for stage in self.stages:
            if not 0 <= stage.frozen < stage.depth <= len(self.blocks) and self.blocks:
                raise RecipeError(
                    f"a stage of {stage.depth} blocks with {stage.frozen} frozen does not fit a network "
                    f"of {len(self.blocks)} blocks"
                )

    @classmethod
    def of(
        cls,
        model: nn.Module,
        example: Any,
        *,
        optimizer: OptimizerFactory | None = None,
        loss_fn: Loss = functional.cross_entropy,
        blocks: tuple[Block, ...] | None = None,
        output: str | None = None,
        loss: Loss | None = None,
    ) -> "Setup":
        """The setup of a model of your own, whose weights are kept as they are.

        Its blocks are found by running `example` through a copy, unless you name them; `blocks=()` and `output=""` for
        a network without any, to which the remedies that look for none apply.
        """
        if loss is not None:
            warnings.warn("Setup.of(loss=…) is called loss_fn now", DeprecationWarning, stacklevel=2)
            loss_fn = loss
        if not isinstance(model, nn.Module) or not isinstance(example, Tensor | tuple | list | Mapping):
            raise RecipeError(
                "Setup.of(model, example) takes a torch.nn.Module and inputs that it can be called with, a tensor, "
                f"a tuple or a dict; not {type(model).__name__} and {type(example).__name__}"
            )
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
            loss_fn=loss_fn,
            stages=(Stage(depth=len(blocks)),),
        )

    @classmethod
    def like(cls, model: nn.Module, optimizer: torch.optim.Optimizer, loss_fn: Loss, example: Any) -> "Setup":
        """The setup of a training that stands already: its optimizer's class and options, whatever the model becomes.

        example   a batch of inputs. Where no blocks are found, the setup has none
        """
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise RecipeError(
                f"Setup.like takes the optimizer that there is, one of torch.optim; not {in_brief(optimizer)}"
            )
        factory = SameOptimizer.of(optimizer)
        try:
            return cls.of(model, example, optimizer=factory, loss_fn=loss_fn)
        except RecipeError:
            raise
        except UnvanishError:
            return cls.of(model, example, optimizer=factory, loss_fn=loss_fn, blocks=(), output="")

    @property
    def loss(self) -> Loss:
        """Deprecated: `loss_fn`."""
        warnings.warn("Setup.loss is called loss_fn now", DeprecationWarning, stacklevel=2)
        return self.loss_fn

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers that are measured: of each block its first module, and the output."""
        return (*(block[0] for block in self.blocks), self.output)

    def initialised(self) -> "Setup":
        """This setup with its weights drawn, as `init` says. The model given is left as it is."""
        if self.init is None:
            return self
        return replace(self, model=self.drawn(), init=None)

    def drawn(self) -> nn.Module:
        """A new model with its weights drawn, as `init` says, from torch's global random stream."""
        model = copy.deepcopy(self.model)
        if self.init is not None:
            self.init.draw(model, self.blocks, self.output, self.example)
        return model

    def build(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        """A model with its weights drawn, and an optimizer over what it trains: what a training starts from.

        Both are new. The weights come from torch's global random stream, as `init` says.
        """
        model = self.drawn()
        return model, self.optimizer([p for p in model.parameters() if p.requires_grad])

    def __repr__(self) -> str:
        drawn = ", weights to be drawn by build()" if self.init is not None else ""
        stages = f", {len(self.stages)} stages" if len(self.stages) > 1 else ""
        optimizer = self.optimizer.name if isinstance(self.optimizer, Optimizer) else "optimizer given"
        return f"Setup({type(self.model).__name__} of {len(self.blocks)} hidden blocks, {optimizer}{stages}{drawn})"
