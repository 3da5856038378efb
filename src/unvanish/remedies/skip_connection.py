"""Skip connections: give the gradient a way around the layers that shrink it.

    h_b ← h_b + h_a,    so    dL/dh_a = dL/dh_b (I + ∂h_b/∂h_a)

The identity passes the backward signal on however small the Jacobian of the layers between a and b
is (He et al. 2016, "Identity Mappings in Deep Residual Networks", eq. 5).

Limitations: what no skip spans still shrinks the gradient: with 1→3 and 4→7 every path crosses
layers 1 and 4 and the step between 3 and 4. And sums of unnormalised branches grow with depth:
at He's variance each skipped ReLU block doubles the signal's second moment, so 130 of them overflow
float32; beyond about ten skips, normalise or gate them.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, final

from pydantic import AfterValidator

from unvanish.core.blocks import output_shapes
from unvanish.core.errors import NothingToDo, RecipeError
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup
from unvanish.core.values import validated
from unvanish.modules.residual import with_paths


def _ahead(pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    for a, b in pairs:
        if not 1 <= a < b:
            raise ValueError("a path leads from a layer, counted from 1, to a later one")
    return pairs


SHOWN = 6  # skips by name


@final
@validated
class SkipConnection(Remedy):
    """Add the output of hidden layer `a` to the output of hidden layer `b`, for each (a, b).

    Layers count from 1 at the input side; both outputs must have the same shape.
    """

    kind: ClassVar[str] = "skip-connection"

    pairs: Annotated[tuple[tuple[int, int], ...], AfterValidator(_ahead)] = ((1, 3), (4, 7))  # the published paths

    def apply(self, setup: Setup) -> Setup:
        if not self.pairs:
            raise NothingToDo("no pair of layers is named")
        if len(set(self.pairs)) < len(self.pairs):
            raise RecipeError("the same path is named twice")
        depth = len(setup.blocks)
        for a, b in self.pairs:
            if not 1 <= a < b <= depth:
                raise RecipeError(
                    f"no skip from layer {a} to {b}: the network has {depth} hidden layers; name others, as "
                    "skip-connection:pairs=[[1,3]], or take skip-every-block, which fits any depth"
                )
        shapes = output_shapes(setup.model, [block[-1] for block in setup.blocks], setup.example)
        for a, b in self.pairs:
            if shapes[a - 1] != shapes[b - 1]:
                raise RecipeError(
                    f"layer {a} gives {shapes[a - 1]} and layer {b} gives {shapes[b - 1]}: "
                    "a skip can only add outputs of equal shape"
                )
        model, blocks = with_paths(setup.model, setup.blocks, [(a - 1, b - 1) for a, b in self.pairs])
        return replace(setup, model=model, blocks=blocks)

    def __str__(self) -> str:
        named = [f"{a}→{b}" for a, b in self.pairs]
        if len(named) > SHOWN:
            named = [*named[: SHOWN - 2], "…", f"{named[-1]} ({len(named)})"]
        return "skips " + ", ".join(named)
