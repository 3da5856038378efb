"""A quantity: one number of a layer at a step, from what passed through the layer."""

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from unvanish.measure.moments import Number
from unvanish.measure.signal import Signal


@dataclass(frozen=True, eq=False)
class Signals:
    """What passed through a layer at one step; `None` for what was not seen.

    pre_activation    z, the input of the activation φ; without one, what the weight gives
    activation        h = φ(z)
    backward          ∂loss/∂z
    weight_gradient   ∂loss/∂W, after the backward pass, before the step
    update            ΔW, the optimizer's step
    weight            W before the step
    """

    pre_activation: Signal | None = None
    activation: Signal | None = None
    backward: Signal | None = None
    weight_gradient: Signal | None = None
    update: Signal | None = None
    weight: Signal | None = None


class Quantity(ABC):
    """Frozen data plus one `of`. Its file's docstring has the equation.

    `name` and `unit` go into stores and columns; `scale` is the axis on which it is drawn.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    scale: ClassVar[Literal["linear", "log"]] = "linear"

    @abstractmethod
    def of(self, layer: Signals) -> Number | None:
        """The number; `None` where it was not measured or has no meaning.

        What it is made of are floats, or tensors with one for each of several steps or runs, or on a device: compute
        with operators and the functions of `unvanish.measure.moments`, which take either.
        """

    @classmethod
    def definition(cls) -> str:
        """What it is, with its equation: the docstring of the quantity's file."""
        return inspect.getdoc(inspect.getmodule(cls)) or ""


def in_table(quantity: str, measured: np.ndarray) -> np.ndarray:
    """What was measured, as the table has it: infinite where it is NaN, which in a table means "not measured".

    But an update ratio of weights that are all 0 has no meaning.
    """
    return measured if quantity == "update_ratio" else np.where(np.isnan(measured), np.inf, measured)
