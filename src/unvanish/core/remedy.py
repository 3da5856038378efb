"""A remedy: a pure map from a setup to a better one."""

import inspect
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from unvanish.core.errors import NothingToDo
from unvanish.core.init import Init, InitPolicy
from unvanish.core.setup import OptimizerFactory, Setup
from unvanish.core.values import Registered


class Remedy(Registered):
    """Frozen data plus one method. Its file's docstring says why it works and where it fails.

    replaces   "init", "activation" or "optimizer", where it sets that and nothing else: a recipe's own has no effect
    """

    home = "unvanish.remedies"
    replaces: ClassVar[str] = ""

    @abstractmethod
    def apply(self, setup: Setup) -> Setup:
        """The setup with this remedy in it; the one given is left as it is.

        Raises `NothingToDo` where it finds nothing to change, `RecipeError` where it makes no sense.
        """

    @abstractmethod
    def __str__(self) -> str:
        """What it changes, in a few words, for tables."""

    @classmethod
    def reason(cls) -> str:
        """Why it works and where it fails: the docstring of the remedy's file."""
        return inspect.getdoc(inspect.getmodule(cls)) or ""


class InitRemedy(Remedy, InitPolicy):
    """A remedy that draws the weights in another way, and changes nothing else."""

    replaces: ClassVar[str] = "init"

    def apply(self, setup: Setup) -> Setup:
        if setup.init is not None and setup.init.policy == self:
            raise NothingToDo(f"the weights are drawn so already: {self}")
        self.refuse(setup)
        drawn = setup.init or Init(std=None, anew=False)
        return replace(setup, init=replace(drawn, std=None, policy=self))

    @abstractmethod
    def refuse(self, setup: Setup) -> None:
        """Raise `NothingToDo` or `RecipeError` where it has nothing for this network."""


class OptimizerRemedy(Remedy):
    """A remedy that changes an optimizer once it is made, whichever it is."""

    def apply(self, setup: Setup) -> Setup:
        factory = setup.optimizer
        given = factory if isinstance(factory, PreparedOptimizer) else PreparedOptimizer(factory, ())
        if self in given.changes:
            raise NothingToDo(f"the optimizer has it already: {self}")
        return replace(setup, optimizer=replace(given, changes=(*given.changes, self)))

    @abstractmethod
    def prepare(self, optimizer: torch.optim.Optimizer) -> None:
        """Change a new optimizer, in place. Raises `NothingToDo` where it has nothing of the kind."""


@dataclass(frozen=True)
class PreparedOptimizer:
    """An optimizer factory, and what is changed in each optimizer that it makes."""

    factory: OptimizerFactory
    changes: tuple[OptimizerRemedy, ...]

    def __call__(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = self.factory(parameters)
        for change in self.changes:
            change.prepare(optimizer)
        return optimizer
