"""What mean-field theory says of how deep a recipe's network can be, beside how deep it was."""

from functools import lru_cache
from itertools import pairwise

from torch import nn

from unvanish.core.recipe import Recipe
from unvanish.modules.initialise import known
from unvanish.remedies import (
    BetterActivation,
    BetterOptimizer,
    GaussianInit,
    HeInit,
    LearningRate,
    WarmUp,
    WeightIncreasing,
    XavierInit,
)
from unvanish.theory import Activation, MeanField
from unvanish.theory.gaussian import moments
from unvanish.train.leaves import leaf_sequence

# after which a network is still one of independent Gaussian weights, which the theory is of
GAUSSIAN = (
    BetterActivation,
    BetterOptimizer,
    GaussianInit,
    HeInit,
    LearningRate,
    WarmUp,
    WeightIncreasing,
    XavierInit,
)


@lru_cache(maxsize=1024)
def mean_field_of(recipe: Recipe) -> MeanField | None:
    """Of a hidden layer, by the weights that the recipe draws; `None` where theory is of other networks.

    That is with normalisation, skips, orthogonal or centred weights, or PyTorch's default ones, which are uniform.
    """
    if not all(isinstance(remedy, GAUSSIAN) for remedy in recipe.remedies):
        return None
    leaves = leaf_sequence(recipe.setup().model) or ()
    layers = [(a, known(b)) for a, b in pairwise(leaves) if isinstance(a, nn.Linear)]
    if recipe.init_std is None and not any(isinstance(one, GaussianInit | HeInit) for one in recipe.remedies):
        return None
    layer, phi = layers[1] if len(layers) > 1 else (None, None)
    if layer is None or phi is None:
        return None
    weight_var = layer.in_features * float(layer.weight.detach().double().square().mean())
    bias_var = float(layer.bias.detach().double().square().mean()) if layer.bias is not None else 0.0
    return MeanField(phi, _exact(recipe, phi, weight_var, layer.in_features), _exact_bias(recipe, bias_var))


def _exact(recipe: Recipe, phi: Activation, measured: float, width: int) -> float:
    """The variance that the recipe names, where it does, in place of what the drawn weights came to."""
    for remedy in reversed(recipe.remedies):
        if isinstance(remedy, GaussianInit):
            return remedy.weight_var
        if isinstance(remedy, WeightIncreasing):
            return width * remedy.std**2
        if isinstance(remedy, HeInit):
            return 1 / moments(phi, 1.0)[2]
        if isinstance(remedy, XavierInit):
            return measured
    return measured if recipe.init_std is None else width * recipe.init_std**2


def _exact_bias(recipe: Recipe, measured: float) -> float:
    drawn = [remedy.bias_var for remedy in recipe.remedies if isinstance(remedy, GaussianInit)]
    return drawn[-1] if drawn else measured
