"""A remedy: a pure map from a setup to a better one."""

import inspect
from abc import abstractmethod

from unvanish.core.setup import Setup
from unvanish.core.values import Registered


class Remedy(Registered):
    """Frozen data plus one method. Its file's docstring says why it works and where it fails."""

    home = "unvanish.remedies"

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
