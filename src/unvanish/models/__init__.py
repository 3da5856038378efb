"""The networks that a recipe can name."""

from unvanish.core.recipe import Network
from unvanish.models.mlp import MLP

ALL: tuple[type[Network], ...] = (MLP,)
