"""Skip connections: give the gradient a way around the layers that shrink it.

    h_b ← h_b + h_a,    so    dL/dh_a = dL/dh_b (I + ∂h_b/∂h_a)

The identity keeps the backward signal alive however small the Jacobian of the layers between a and b
is (He et al. 2016, "Identity Mappings in Deep Residual Networks", eq. 5).

Contraindications: what no skip spans still shrinks the gradient: with 1→3 and 4→7 every path crosses
layers 1 and 4 and the step between 3 and 4. And sums of unnormalised branches grow with depth:
at He's variance each skipped ReLU block doubles the signal's second moment, so 130 of them overflow
float32; beyond about ten skips, normalise or gate them.
"""

from dataclasses import replace
from typing import Any, ClassVar, final

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from unvanish.core.errors import NothingToDo, RecipeError
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.structure import output_shapes
from unvanish.core.surgery import replaced


@final
class Wire:
    """Carries one tensor from a `Source` to its `Sum` within a forward pass. A copy of it starts empty."""

    def __init__(self) -> None:
        self.value: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Wire":
        return memo.setdefault(id(self), Wire())


@final
class Source(nn.Module):
    """A block whose output is also put on a wire."""

    def __init__(self, block: nn.Module, wire: Wire) -> None:
        super().__init__()
        self.block, self.wire = block, wire

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = self.block(*args, **kwargs)
        self.wire.value = out
        return out


@final
class Sum(nn.Module):
    """A block to whose output what comes over the wire is added."""

    def __init__(self, block: nn.Module, wire: Wire) -> None:
        super().__init__()
        self.block, self.wire = block, wire

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        carried, self.wire.value = self.wire.value, None
        assert carried is not None, "the block at the start of the skip did not run before the one at its end"
        return self.block(*args, **kwargs) + carried


@final
@dataclass(frozen=True)
class SkipConnection(Remedy):
    """Add the output of hidden layer `a` to the output of hidden layer `b`, for each (a, b).

    Layers count from 1 at the input side; both outputs must have the same shape.
    """

    kind: ClassVar[str] = "skip-connection"

    pairs: tuple[tuple[int, int], ...] = ((1, 3), (4, 7))  # the published paths

    def apply(self, setup: Setup) -> Setup:
        if not self.pairs:
            raise NothingToDo("no pair of layers is named")
        if len(set(self.pairs)) < len(self.pairs):
            raise RecipeError("the same path is named twice")
        depth = len(setup.blocks)
        for a, b in self.pairs:
            if not 1 <= a < b <= depth:
                raise RecipeError(f"no path from layer {a} to {b}: the network has {depth} hidden layers")
        ends = [block[-1] for block in setup.blocks]
        shapes = output_shapes(setup.model, ends, setup.example)
        model = setup.model
        for a, b in self.pairs:
            if shapes[a - 1] != shapes[b - 1]:
                raise RecipeError(
                    f"layer {a} gives {shapes[a - 1]} and layer {b} gives {shapes[b - 1]}: "
                    "a skip can only add outputs of equal shape"
                )
            wire = Wire()
            model = replaced(
                model,
                {
                    ends[a - 1]: lambda block, wire=wire: Source(block, wire),
                    ends[b - 1]: lambda block, wire=wire: Sum(block, wire),
                },
            )
        return replace(setup, model=model)

    def __str__(self) -> str:
        return "skips " + ", ".join(f"{a}→{b}" for a, b in self.pairs)
