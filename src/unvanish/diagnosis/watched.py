"""What a watch has seen, as checks look at it: the mean of the last measured steps, and which layers stand still."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from unvanish.core.table import Table
from unvanish.diagnosis.evidence.origin import Origin
from unvanish.diagnosis.evidence.parameters import Parameters
from unvanish.diagnosis.examination import Examination

RECENT = 32  # measured steps that a diagnosis is made of
ELEMENTS = 64  # of a parameter are kept


def examination_of(table: Table) -> Examination:
    """Of a table with at least one step. Steps that are not finite are told, and count nowhere else if others are."""
    broken = [_broken(table, index) for index in range(len(table.steps))]
    whole = [index for index, where in enumerate(broken) if where is None]
    first = next((index for index, where in enumerate(broken) if where is not None), -1)
    used = [index for index in whole if index >= len(broken) - RECENT] or whole[-1:]
    used = used or list(range(len(broken)))[-RECENT:]
    recent = replace(
        table,
        steps=tuple(table.steps[index] for index in used),
        values={name: values[used] for name, values in table.values.items()},
    )
    origin, where = None, broken[first]
    if broken[-1] is not None and where is not None:
        origin = Origin(where, when=f"first seen at step {table.steps[first]}")
    return Examination(recent.mean(table.steps[-1]), origin=origin, diverged=broken[-1] is not None and bool(whole))


def stands_still(table: Table) -> bool:
    """Whether no weight changed in the last step, though there was a gradient."""
    changes, gradients = table.row("update_norm"), table.row("weight_gradient_norm")
    measured = np.isfinite(changes)
    return bool(measured.any()) and not (changes[measured] > 0).any() and bool((np.nan_to_num(gradients) > 0).any())


class StandingStill:
    """Which layers that the watched optimizer does not hold stay as they are: another optimizer may hold them."""

    def __init__(self, parameters: Iterable[nn.Parameter], names: Mapping[int, str]) -> None:
        self.first = [(names.get(id(p), ""), p, _some(p)) for p in parameters]

    def of(self, known: Parameters) -> Parameters:
        moved = {name for name, parameter, before in self.first if not torch.equal(_some(parameter), before)}
        return replace(known, not_held=tuple(layer for layer in known.not_held if layer not in moved))


def _some(parameter: nn.Parameter) -> Tensor:
    return parameter.detach().flatten()[:ELEMENTS].clone()


def _broken(table: Table, step: int) -> str | None:
    """The first layer whose activations are not finite; else the one nearest to the loss whose gradient is not."""
    forward = np.flatnonzero(np.isinf(table.row("activation_rms", step)))
    if len(forward):
        return table.layers[int(forward[0])]
    for quantity in ("backward_norm", "weight_gradient_norm"):
        backward = np.flatnonzero(np.isinf(table.row(quantity, step)))
        if len(backward):
            return table.layers[int(backward[-1])]
    return None
