"""What a classifier predicts after a trial: one class everywhere, or not; and what the best constant would lose."""
# B batch, C classes

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unvanish.diagnosis.evidence.parts import main_output, main_target
from unvanish.diagnosis.trial.learning import Quietly, without_dropout
from unvanish.train.batches import Batch


@dataclass(frozen=True)
class Predictions:
    """Over the held-out batches.

    share      of the predictions, those of the most frequent class
    majority   of the targets, those of the most frequent class
    loss       the network's mean loss
    constant   the mean cross-entropy of the best constant: the entropy of the targets
    pixels     a prediction for each pixel or position
    """

    share: float
    majority: float
    loss: float
    constant: float
    pixels: bool = False


def predictions_of(model: nn.Module, held: Sequence[Batch], quietly: Quietly, loss: float) -> Predictions | None:
    """`None` where outputs and targets are no classes."""
    predicted: list[Tensor] = []
    wanted: list[Tensor] = []
    with quietly(), without_dropout(model):
        for batch in held:
            output, target = main_output(batch.output_of(model), batch.size), main_target(batch)
            if output is None or target is None:
                return None
            classes = _classes(output.detach(), target)
            if classes is None:
                return None
            predicted.append(classes[0].flatten().cpu())
            wanted.append(classes[1].flatten().cpu())
    guess, truth = torch.cat(predicted), torch.cat(wanted)
    if not len(truth):
        return None
    frequencies = torch.unique(truth, return_counts=True)[1].double() / len(truth)
    entropy = -float((frequencies * frequencies.log()).sum())
    counts = torch.unique(guess, return_counts=True)[1]
    return Predictions(
        float(counts.max()) / len(guess),
        float(frequencies.max()),
        loss,
        entropy,
        len(truth) > sum(b.size for b in held),
    )


def _classes(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor] | None:
    """Predicted and true class, of each sample or pixel."""
    if not target.is_floating_point() and output.dim() == target.dim() + 1 and output.shape[1] > 1:
        guess = output.argmax(1)
        return (guess[target >= 0], target[target >= 0]) if guess.shape == target.shape else None
    values = torch.unique(target)
    if output.numel() == target.numel() and len(values) <= 2 and bool(((values == 0) | (values == 1)).all()):
        low, high = float(output.min()), float(output.max())
        is_probability = low >= 0 and high <= 1
        return (output.reshape(target.shape) > (0.5 if is_probability else 0.0)).long(), target.long()
    return None
