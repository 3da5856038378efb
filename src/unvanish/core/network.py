"""A network described by numbers, from which the model is built."""

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from unvanish.core.structure import Block
from unvanish.core.tagged import Tagged


@dataclass(frozen=True)
class Built:
    """A model with the names that a `Setup` needs (see there)."""

    model: nn.Module
    blocks: tuple[Block, ...]
    output: str
    example: Tensor


class Network(Tagged):
    """Frozen numbers plus one method."""

    @abstractmethod
    def build(self) -> Built: ...

    @abstractmethod
    def __str__(self) -> str: ...
