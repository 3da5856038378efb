"""`Recipe`: a whole training as plain data. Its digest is the identity of a run."""

import hashlib
import json
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape
from typing import Annotated, Any, Self

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from torch import Tensor, nn
from torch.nn import functional

from unvanish.core.blocks import Block
from unvanish.core.init import Init
from unvanish.core.optimizer import Optimizer
from unvanish.core.remedy import Remedy
from unvanish.core.setup import Setup, Stage
from unvanish.core.values import AsRegistered, Count, Registered, counted, hashable, in_a_sentence


@dataclass(frozen=True)
class Built:
    """A model with the names that a `Setup` needs (see there)."""

    model: nn.Module
    blocks: tuple[Block, ...]
    output: str
    example: Tensor

    def __repr__(self) -> str:
        return f"Built({type(self.model).__name__}: {counted(len(self.blocks), 'block')} and {self.output})"


class Network(Registered):
    """Frozen numbers plus one method."""

    home = "unvanish.models"

    @abstractmethod
    def build(self) -> Built: ...

    @abstractmethod
    def __str__(self) -> str: ...


DATA_NAME = r"^\w[\w.-]*(@[0-9a-f]{16})?$"
LATER = ("held_out",)


class Recipe(BaseModel):
    """What is trained, how, on what, and for how long. Immutable, validated, JSON both ways.

    network    the architecture's numbers
    init_std   weights from N(0, init_std²), biases 0; `None` keeps PyTorch's default
    optimizer  of `torch.optim`, by name
    remedies   applied in this order
    epochs     the length; a stage of share s takes s · epochs
    batch      images a step; the last short batch of an epoch is kept
    seed       of torch's global CPU stream, set once before the model is built
    data       the data set by name, see `load_data`; of one's own the name holds a checksum of the content
    samples    only its first so many training images; `None` is all
    held_out   so many of the last training images are evaluated in place of the test images, and not trained on: for
               choosing between recipes, which the test images must have no part in
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    network: Annotated[Network, AsRegistered]
    init_std: Annotated[float, Field(ge=0)] | None
    optimizer: Optimizer
    remedies: tuple[Annotated[Remedy, AsRegistered], ...] = ()
    epochs: Count = 300
    batch: Count = 512
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    data: Annotated[str, Field(pattern=DATA_NAME)] = "fashion-mnist"
    samples: Count | None = None
    held_out: Count | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_in_a_sentence(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        with in_a_sentence("a recipe", cls.model_fields):
            return handler(value)

    @model_serializer(mode="wrap")
    def _without_later_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A field that came later is left out where it has its default: recipes keep the digests that they had."""
        return {name: value for name, value in handler(self).items() if name not in LATER or value is not None}

    def digest(self) -> str:
        """sha256 of the canonical JSON: equal recipes, and only they, have equal digests."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def with_remedies(self, *remedies: Remedy) -> Self:
        """This recipe with more remedies, applied after those that it has. Refuses at once what makes no sense."""
        recipe = self.but(remedies=(*self.remedies, *remedies))
        recipe.uninitialised()
        return recipe

    def but(self, **changes: Any) -> Self:
        """This recipe with other values, validated.

        An unknown name is refused like a misspelt field.
        """
        return self.model_validate({name: getattr(self, name) for name in FIELDS} | changes)

    def setup(self, inputs: Tensor | None = None) -> Setup:
        """The training that this recipe stands for, its weights drawn as they will be when it starts.

        inputs   a batch, [samples, features], for initial weights that depend on the data

        The random state of the process is left as it is.
        """
        setup = self.uninitialised()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return (setup if inputs is None else replace(setup, example=inputs)).initialised()

    def uninitialised(self) -> Setup:
        """The setup before its weights are drawn: what the engine starts from. Draws no random numbers."""
        with torch.random.fork_rng(devices=[]):
            built = self.network.build()
            setup = Setup(
                model=built.model,
                blocks=built.blocks,
                output=built.output,
                example=built.example,
                init=Init(self.init_std),
                optimizer=self.optimizer,
                loss_fn=functional.cross_entropy,
                stages=(Stage(depth=len(built.blocks)),),
            )
            for remedy in self.remedies:
                setup = remedy.apply(setup)
        return setup

    def stages(self) -> tuple[Stage, ...]:
        """The trainings that it consists of, in their order; most have one."""
        return _stages(self.structure())

    def stage_epochs(self) -> tuple[int, ...]:
        """How many epochs each stage takes; one, if its remedies only draw weights: then no network is made."""
        return (
            tuple(stage.epochs(self.epochs) for stage in self.stages()) if self.structure().remedies else (self.epochs,)
        )

    def structure(self) -> Self:
        """A recipe of the same network, optimizer and stages: equal for all that differ in weights and length only.

        To make a network of hundreds of layers takes a tenth of a second, which thousands of recipes can share.
        """
        kept = tuple(one for one in self.remedies if one.replaces != "init")
        return self.model_copy(update={"seed": 0, "epochs": 1, "remedies": kept})

    def __hash__(self) -> int:
        return hash(tuple([hashable(getattr(self, name)) for name in FIELDS]))

    def __str__(self) -> str:
        return " + ".join(map(str, self.remedies)) or f"{self.network}, no remedy"

    def __repr__(self) -> str:
        return f"Recipe({self}, {counted(self.epochs, 'epoch')}, seed {self.seed}, {self.digest()[:12]})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the recipe as a table."""
        init = "PyTorch's default" if self.init_std is None else f"N(0, {self.init_std:g}²)"
        facts = {
            "network": self.network,
            "initial weights": init,
            "optimizer": f"{self.optimizer.name}, {self.optimizer}",
            "remedies": " + ".join(map(str, self.remedies)) or "none",
            "epochs": self.epochs,
            "batch": self.batch,
            "seed": self.seed,
            "data": f"{self.data}, {'all' if self.samples is None else f'the first {self.samples:,}'}"
            + (f", {self.held_out:,} training images held out" if self.held_out else ""),
            "digest": self.digest()[:12],
        }
        left = "style='text-align: left'"
        rows = "".join(
            f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(str(value))}</td></tr>"
            for name, value in facts.items()
        )
        return f"<table>{rows}</table>"


FIELDS = tuple(Recipe.model_fields)


@lru_cache(maxsize=4096)
def _stages(recipe: Recipe) -> tuple[Stage, ...]:
    """Of a recipe's `structure`."""
    return recipe.uninitialised().stages
