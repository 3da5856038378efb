"""The networks that a recipe can name."""

from unvanish.core.network import Network
from unvanish.models.mlp import MLP

ALL: tuple[type[Network], ...] = (MLP,)
