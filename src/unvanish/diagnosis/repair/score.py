"""How well a network does on batches that are held out, batch by batch, in `eval()`.

accuracy     of scores of classes
2 AUC − 1    of one score for each of several labels of two values
R²           of numbers: 1 − Σ (t − o)²/Σ (t − t̄)², t̄ of all batches
−loss        of anything else, by the loss that was given

None depends on the scale of the loss, so that networks trained with different ones can be compared.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unvanish.core.setup import Loss
from unvanish.core.table import Array
from unvanish.diagnosis.evidence.parts import main_output, main_target
from unvanish.diagnosis.evidence.simple import skill_of, two_valued
from unvanish.train.batches import Batch, without_graph

LOWEST = -1.0  # of R² and the like, and what NaN counts as


def metric_of(model: nn.Module, batch: Batch) -> str:
    """Which of them fits the outputs and targets."""
    output, target = main_output(_outputs(model, batch), batch.size), main_target(batch)
    if output is None or target is None or len(output) != batch.size or len(target) != batch.size:
        return "−loss"
    if not target.is_floating_point():
        classes = output.dim() == target.dim() + 1 and output.shape[1] > 1 and output.shape[2:] == target.shape[1:]
        return "accuracy" if classes else "−loss"
    if output.numel() != target.numel():
        return "−loss"
    return "2 AUC − 1" if two_valued(target) else "R²"


def scores(metric: str, model: nn.Module, batches: Sequence[Batch], loss: Loss) -> Array:
    """Of each batch. The model's mode is put back."""
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        return np.array([_of_batch(metric, model, batch, batches, loss) for batch in batches])
    finally:
        for module, mode in training:
            module.training = mode


def chance(metric: str, batches: Sequence[Batch]) -> float:
    """The score of the best constant answer: the share of the most frequent class, or 0; −∞ where none is known."""
    if metric != "accuracy":
        return -math.inf if metric == "−loss" else 0.0
    targets = [one for batch in batches if (one := main_target(batch)) is not None]
    counts = torch.unique(torch.cat([one.flatten() for one in targets]), return_counts=True)[1]
    return float(counts.max() / counts.sum())


def _of_batch(metric: str, model: nn.Module, batch: Batch, batches: Sequence[Batch], loss: Loss) -> float:
    with suppress(RuntimeError):  # of a loss that does not take what has become of the outputs
        output = _outputs(model, batch)
        value = _value(metric, output, batch, batches, loss)
        if math.isfinite(value):
            return value if metric == "−loss" else max(LOWEST, value)
    return -math.inf if metric == "−loss" else LOWEST


def _value(metric: str, output: Any, batch: Batch, batches: Sequence[Batch], loss: Loss) -> float:
    if metric == "−loss":
        return -float(loss(output, batch.target).detach())
    guess, truth = main_output(output, batch.size), main_target(batch)
    assert guess is not None
    assert truth is not None
    guess, truth = guess.detach().cpu(), truth.detach().cpu()
    if not bool(torch.isfinite(guess).all()):
        return math.nan
    if metric == "accuracy":
        told = guess.argmax(1)
        return float((told == truth)[truth >= 0].double().mean())
    guess, truth = guess.double().reshape(len(guess), -1), truth.double().reshape(len(truth), -1)
    if metric == "2 AUC − 1":
        return skill_of(guess, truth)
    every = torch.cat([one for other in batches if (one := _numbers(other)) is not None])
    around = float((every - every.mean(0)).square().sum(1).mean())
    return 1 - float((truth - guess).square().sum(1).mean()) / around if around > 0 else 0.0


def _numbers(batch: Batch) -> Tensor | None:
    target = main_target(batch)
    return None if target is None else target.detach().cpu().double().reshape(len(target), -1)


def _outputs(model: nn.Module, batch: Batch) -> Any:
    return without_graph(lambda: batch.output_of(model))
