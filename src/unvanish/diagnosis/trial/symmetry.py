"""Which layers' units are copies of one another, before some steps and after."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def alike(before: nn.Module, after: nn.Module, names: Mapping[int, str]) -> tuple[str, ...]:
    """The layers whose rows are the same in both: two networks of one shape, the first with the `names`."""
    embeddings = {id(module.weight) for module in before.modules() if isinstance(module, nn.Embedding)}
    return tuple(
        names[id(start)]
        for start, end in zip(before.parameters(), after.parameters(), strict=True)
        if start.requires_grad and id(start) not in embeddings and _rows_alike(start) and _rows_alike(end)
    )


def _rows_alike(weight: Tensor) -> bool:
    if weight.dim() < 2 or len(weight) < 2 or not weight.is_floating_point():
        return False
    rows = weight.detach().flatten(1)
    # a rounding error may set apart what the arithmetic does not
    return bool((rows - rows[:1]).abs().max() <= 1e-5 * rows.abs().max()) if bool(torch.isfinite(rows).all()) else False
