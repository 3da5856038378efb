"""A change of a training's setup: remedies, or a fix as code; made on copies of model, optimizer and loss."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import unvanish
from unvanish.core.finding import Fix
from unvanish.core.remedy import InitRemedy, OptimizerRemedy, Remedy
from unvanish.core.setup import Loss, Setup
from unvanish.diagnosis.fixes import applied
from unvanish.diagnosis.trial.isolation import copied
from unvanish.remedies import BetterActivation, BetterOptimizer, NormalizeInside

Part = Remedy | Fix
REASON = re.compile(r":(?![^(]*\))")


@dataclass(frozen=True)
class Treated:
    """A model, the optimizer over it, and the loss, all its own."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss_fn: Loss


@dataclass(frozen=True)
class Change:
    """Nothing, or some parts in the order in which they are made: architecture, loss and optimizer, weights, steps.

    >>> print(Change(()))
    unchanged network
    """

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "Change":
        return cls(tuple(sorted(parts, key=_place)))

    def within(self, base: "Change") -> "Change":
        """With the parts of `base`, each once."""
        return Change.of(tuple(dict.fromkeys((*base.parts, *self.parts))))

    @property
    def size(self) -> tuple[int, int]:
        """How much it changes: how many parts, and then initial weights, rate, optimizer, activation, norm, skip."""
        return len(self.parts), sum(_weight(part) for part in self.parts)

    @property
    def changes_steps(self) -> bool:
        """Whether it changes how steps are taken, which may do with a gradient that vanishes."""
        return any(isinstance(part, OptimizerRemedy | BetterOptimizer | Fix) for part in self.parts)

    def made(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loss_fn: Loss, example: Any, seed: int
    ) -> Treated:
        """The change made on copies, its random numbers drawn from `seed`; the given ones stay as they are.

        Raises `NothingToDo` or `RecipeError` where it makes no sense, `UnvanishError` where it cannot be made.
        """
        its, steps, loss = copied(model, optimizer, loss_fn)
        treated = Treated(its, steps, loss or loss_fn)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for part in self.parts:
                treated = _pasted(part, treated) if isinstance(part, Fix) else _applied(part, treated, example)
        return treated

    def code(self, seed: int, example: str) -> str:
        """What makes it, as Python, where `torch`, `uv`, `model`, `loss_fn`, `optimizer` and `batches` exist.

        example   inputs, as Python
        """
        lines: list[str] = [f"torch.manual_seed({seed})"]
        for part in self.parts:
            lines += (part.code if isinstance(part, Fix) else applied(part, example)).splitlines()
        return "\n".join(lines)

    def __str__(self) -> str:
        return " + ".join(map(_short, self.parts)) or "unchanged network"


def _applied(remedy: Remedy, treated: Treated, example: Any) -> Treated:
    if isinstance(remedy, OptimizerRemedy):
        remedy.prepare(treated.optimizer)
        return treated
    setup = Setup.like(treated.model, treated.optimizer, treated.loss_fn, example)
    after = remedy.apply(setup)
    if isinstance(remedy, InitRemedy):  # in place: the optimizer keeps its groups
        assert after.init is not None
        after.init.draw(treated.model, after.blocks, after.output, after.example)
        return treated
    model, optimizer = after.build()
    return Treated(model, optimizer, after.loss_fn)


def _pasted(fix: Fix, treated: Treated) -> Treated:
    names: dict[str, Any] = {
        "torch": torch,
        "uv": unvanish,
        "model": treated.model,
        "optimizer": treated.optimizer,
        "loss_fn": treated.loss_fn,
    }
    exec(fix.code, names)  # our own code, of a check
    return Treated(names["model"], names["optimizer"], names["loss_fn"])


def _short(part: Part) -> str:
    """In a few words: of a fix what comes before its reason, which follows a colon that is not in brackets."""
    return REASON.split(str(part), maxsplit=1)[0].removeprefix("or ") if isinstance(part, Fix) else str(part)


def _place(part: Part) -> int:
    """Code and architecture first, then another optimizer, the weights of what there is then, and the steps last."""
    if isinstance(part, OptimizerRemedy):
        return 3
    return 2 if isinstance(part, InitRemedy) else 1 if isinstance(part, BetterOptimizer) else 0


def _weight(part: Part) -> int:
    if isinstance(part, Fix | InitRemedy):
        return 0
    if isinstance(part, OptimizerRemedy):
        return 1
    if isinstance(part, BetterOptimizer):
        return 2
    return 3 if isinstance(part, BetterActivation) else 4 if isinstance(part, NormalizeInside) else 5
