"""Which accuracy is that of a network that has learned."""

from unvanish.core.recipe import Recipe
from unvanish.models.mlp import MLP


def chance(recipe: Recipe) -> float:
    """The accuracy of a guess, where there are as many images of each class."""
    assert isinstance(recipe.network, MLP)  # a study has no other
    return 1 / recipe.network.classes


def trained_from(recipe: Recipe) -> float:
    """A sixth of the way from chance to 1: 0.25 for ten classes."""
    return (5 * chance(recipe) + 1) / 6
