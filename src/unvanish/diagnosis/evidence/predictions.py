"""What a classifier predicts after a trial: one class everywhere, or not; and what the best constant would lose."""
# B batch, C classes

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unvanish.core.setup import Loss
from unvanish.diagnosis.evidence.parts import main_output, main_target
from unvanish.diagnosis.trial.learning import Quietly, without_dropout
from unvanish.train.batches import Batch

WEIGHTED = 2.0  # times: sums over samples and weights are further off, held-out samples with few positives are not
CONSTANT_STEPS = 60  # of Adam, to the best constant


@dataclass(frozen=True)
class Predictions:
    """Over the held-out batches.

    share      of the predictions, those of the most frequent class
    majority   of the targets, those of the most frequent class
    loss       the network's mean loss
    constant   the mean loss of the best constant, by the loss as it is; where it takes none, the entropy of the targets
    weighted   that is far from the entropy of the targets: the loss weighs samples or classes
    pixels     a prediction for each pixel or position
    """

    share: float
    majority: float
    loss: float
    constant: float
    pixels: bool = False
    weighted: bool = False


def predictions_of(
    model: nn.Module, held: Sequence[Batch], quietly: Quietly, loss: float, loss_fn: Loss
) -> Predictions | None:
    """`None` where outputs and targets are no classes."""
    predicted: list[Tensor] = []
    wanted: list[Tensor] = []
    outputs: list[Tensor] = []
    with quietly(), without_dropout(model):
        for batch in held:
            output, target = main_output(batch.output_of(model), batch.size), main_target(batch)
            if output is None or target is None:
                return None
            classes = _classes(output.detach(), target)
            if classes is None:
                return None
            outputs.append(output.detach())
            predicted.append(classes[0].flatten().cpu())
            wanted.append(classes[1].flatten().cpu())
    guess, truth = torch.cat(predicted), torch.cat(wanted)
    if not len(truth):
        return None
    frequencies = torch.unique(truth, return_counts=True)[1].double() / len(truth)
    entropy = -float((frequencies * frequencies.log()).sum())
    counts = torch.unique(guess, return_counts=True)[1]
    weighted = _best_constant(outputs, held, loss_fn)
    return Predictions(
        float(counts.max()) / len(guess),
        float(frequencies.max()),
        loss,
        entropy if weighted is None else weighted,
        len(truth) > sum(b.size for b in held),
        weighted is not None and not entropy / WEIGHTED <= weighted <= entropy * WEIGHTED,
    )


def _best_constant(outputs: Sequence[Tensor], held: Sequence[Batch], loss_fn: Loss) -> float | None:
    """The least mean loss of outputs that are the same for every sample; `None` where the loss takes none such."""
    shape = outputs[0][:1].shape if outputs[0].dim() < 2 else outputs[0].shape[1:2]
    view = (1, -1, *[1] * (outputs[0].dim() - 2))

    def mean_loss(c: Tensor) -> Tensor:
        values = (
            loss_fn((c.reshape(view) if one.dim() > 1 else c).expand_as(one), batch.target)
            for one, batch in zip(outputs, held, strict=True)
        )
        return torch.stack(list(values)).mean()

    probabilities = all(bool((one >= 0).all() and (one <= 1).all()) for one in outputs)
    c = torch.full(shape, 0.5 if probabilities else 0.0, device=outputs[0].device, requires_grad=True)
    optimizer, found = torch.optim.Adam([c], 0.03 if probabilities else 0.3), list[float]()
    try:
        with torch.enable_grad():
            for _ in range(CONSTANT_STEPS):
                optimizer.zero_grad()
                value = mean_loss(c)
                found.append(float(value.detach()))
                value.backward()
                optimizer.step()
                if probabilities:
                    c.data.clamp_(1e-4, 1 - 1e-4)
    except (RuntimeError, ValueError, TypeError):  # a loss that takes more than the output
        return None
    return min((one for one in found if math.isfinite(one)), default=None)


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
