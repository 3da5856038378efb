"""Whether the targets follow from the inputs at all: three simple models, fitted on the batches that are trained on.

    ridge                W = (X'X + λI)⁻¹ X'Y,  X standardised
    nearest neighbours   the mean target of the 5 nearest samples
    random features      ridge on max(0, XR),  R from N(0, 1/D)  (Rahimi & Recht 2008)

Asked on held-out samples by a permutation test: is the squared error lower than that of other samples' targets? What
none of them learns may still be learnable; what one of them learns certainly is.
"""
# n samples, D features, K outputs

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unvanish.diagnosis.evidence.parts import main_target
from unvanish.measure.graph.layers import tensors_in
from unvanish.train.batches import LABELS, Batch

MOST_FEATURES, MOST_CLASSES, RANDOM = 4096, 200, 512
NEIGHBOURS, SHUFFLES = 5, 50
BEYOND = 4.0  # spreads over shuffles: by chance once in 30,000
LEAST = 48  # held-out samples, fewer prove nothing


@dataclass(frozen=True)
class Simple:
    """How far beyond chance each simple model came on `held` held-out samples, in spreads over shuffles.

    skill   of each: `skill_of` its guesses
    """

    beyond: dict[str, float]
    skill: dict[str, float]
    held: int
    trained: int

    @property
    def best(self) -> str:
        return max(self.skill, key=lambda name: self.skill[name])

    @property
    def learned(self) -> bool:
        return max(self.beyond.values(), default=0.0) >= BEYOND


def simple_models(train: Sequence[Batch], held: Sequence[Batch]) -> Simple | None:
    """`None` where inputs and targets are not a table of numbers, or too few."""
    fitted, asked = _table(train), _table(held)
    if fitted is None or asked is None or len(asked[0]) < LEAST:
        return None
    (x, t), (x_held, t_held) = fitted, asked
    t, t_held = _encoded(t, t_held)
    if t is None or t_held is None or x.shape[1] != x_held.shape[1]:
        return None
    mean, std = x.mean(0), x.std(0) + 1e-6 * (float(x.std()) or 1.0)
    x, x_held = (x - mean) / std, ((x_held - mean) / std).clamp(-10, 10)
    generator = torch.Generator().manual_seed(0)
    r = torch.randn(x.shape[1], RANDOM, generator=generator, dtype=x.dtype) / x.shape[1] ** 0.5
    nearest = torch.cdist(x_held, x).topk(min(NEIGHBOURS, len(x)), largest=False).indices
    guesses = {
        "ridge": _ridge(x, t, x_held),
        "nearest neighbours": t[nearest].mean(1),
        "random features": _ridge((x @ r).relu(), t, (x_held @ r).relu()),
    }
    return Simple(
        {name: _beyond(one, t_held) for name, one in guesses.items()},
        {name: skill_of(one, t_held) for name, one in guesses.items()},
        len(x_held),
        len(x),
    )


def skill_of(guess: Tensor, truth: Tensor) -> float:
    """0 for the best constant, 1 without error.

    classes, one-hot   (a − a₀) / (1 − a₀),  a the accuracy and a₀ the majority's share; or the same of the balanced
                       accuracy, the mean over the classes, if that is more: weights in a loss trade one for the other
    two values         2 AUC − 1, the mean over the columns
    numbers            R² = 1 − Σ (t − g)² / Σ (t − t̄)²
    """
    if two_valued(truth):
        if truth.shape[1] == 1 or not bool((truth.sum(1) == 1).all()):
            columns = zip(guess.unbind(1), truth.unbind(1), strict=True)
            return sum(_ranked(one, its > truth.min()) for one, its in columns) / truth.shape[1]
        majority, there = float(truth.mean(0).max()), truth.sum(0) > 0
        if majority == 1:
            return 0.0
        right = (guess.argmax(1) == truth.argmax(1)).double()
        balanced = float((truth * right[:, None]).sum(0)[there].div(truth.sum(0)[there]).mean())
        chance = 1 / int(there.sum())
        return max((float(right.mean()) - majority) / (1 - majority), (balanced - chance) / (1 - chance))
    around = float((truth - truth.mean(0)).square().sum())
    return 1 - float((truth - guess).square().sum()) / around if around > 0 else 0.0


def two_valued(truth: Tensor) -> bool:
    """0 and 1, or −1 and 1."""
    high = truth == 1
    return bool((high | (truth == 0)).all() or (high | (truth == -1)).all())


def _ranked(score: Tensor, positive: Tensor) -> float:
    """2 AUC − 1: how much more often a positive is ranked above a negative than below."""
    return (
        float((score[positive][:, None] - score[~positive]).sign().mean())
        if positive.any() and not positive.all()
        else 0.0
    )


def skill_of_network(outputs: Sequence[Tensor], batches: Sequence[Batch]) -> float | None:
    """The same of a network's outputs; `None` where they are neither scores of classes nor the numbers themselves."""
    guesses: list[Tensor] = []
    truths: list[Tensor] = []
    for output, batch in zip(outputs, batches, strict=True):
        target = main_target(batch)
        if target is None or not len(output) == len(target) == batch.size:
            return None
        guess, truth = output.detach().cpu().double(), target.detach().cpu()
        if truth.is_floating_point():
            if guess.shape != truth.shape or not bool(torch.isfinite(guess).all()):
                return None
            guesses.append(guess.flatten(1) if guess.dim() > 1 else guess[:, None])
            truths.append(truth.double().reshape(len(truth), -1))
        elif guess.dim() == 2 and truth.dim() == 1 and 1 < int(truth.max()) + 1 <= guess.shape[1]:
            guesses.append(guess)
            truths.append(functional.one_hot(truth.clamp(min=0).long(), guess.shape[1]).double())
        else:
            return None
    return skill_of(torch.cat(guesses), torch.cat(truths))


def _table(batches: Sequence[Batch]) -> tuple[Tensor, Tensor] | None:
    rows: list[Tensor] = []
    targets: list[Tensor] = []
    for batch in batches:
        t = main_target(batch)
        inputs = batch.input
        if isinstance(inputs, Mapping):  # a model with its own loss has the target among its inputs
            inputs = {name: value for name, value in inputs.items() if name not in LABELS}
        x = [one.detach().cpu() for one in tensors_in(inputs) if one.dim() and len(one) == batch.size]
        if not x or t is None or not t.dim() or len(t) != batch.size or t.is_complex():
            return None
        rows.append(torch.cat([_numbers(one) for one in x], 1))
        targets.append(t.detach().cpu())
    widths = {row.shape[1] for row in rows}
    if len(widths) != 1 or not 0 < widths.pop() <= MOST_FEATURES or not rows:
        return None
    x = torch.cat(rows)
    return (x, torch.cat(targets)) if bool(torch.isfinite(x).all()) else None


def _numbers(x: Tensor) -> Tensor:
    """Tokens as how often each occurs, where they are few."""
    x = x[:, None] if x.dim() == 1 else x
    if not x.is_floating_point() and x.dim() == 2 and 1 < int(x.max()) < 512 and int(x.min()) >= 0:
        return torch.cat([functional.one_hot(x.long(), 512).sum(1).double(), x.double()], 1)
    return x.double().flatten(1)


def _encoded(t: Tensor, t_held: Tensor) -> tuple[Tensor | None, Tensor | None]:
    if t.is_floating_point():
        t, t_held = (one.double().reshape(len(one), -1) for one in (t, t_held))
        if t.shape[1] > MOST_CLASSES or not bool(torch.isfinite(t).all()) or t.shape[1:] != t_held.shape[1:]:
            return None, None
        return t, t_held
    if t.dim() > 1 and t[0].numel() > 1:
        return None, None
    classes, which = torch.unique(torch.cat([t.flatten(), t_held.flatten()]), return_inverse=True)
    if len(classes) > MOST_CLASSES:
        return None, None
    hot = functional.one_hot(which, len(classes)).double()
    return hot[: len(t)], hot[len(t) :]


def _ridge(x: Tensor, t: Tensor, x_held: Tensor) -> Tensor:
    """In the dual where there are fewer samples than features."""
    mean = t.mean(0)
    n, d = x.shape
    penalty = 0.1 * float(x.square().sum(1).mean())
    if d <= n:
        w = torch.linalg.solve(x.T @ x + penalty * torch.eye(d, dtype=x.dtype), x.T @ (t - mean))
        return x_held @ w + mean
    a = torch.linalg.solve(x @ x.T + penalty * torch.eye(n, dtype=x.dtype), t - mean)
    return x_held @ (x.T @ a) + mean


def _beyond(guess: Tensor, t: Tensor) -> float:
    """By how many spreads the squared error with their own targets is below that with others'."""
    generator = torch.Generator().manual_seed(0)
    scale = t.std(0) + 1e-12
    guess, t = guess / scale, t / scale
    own = float((guess - t).square().mean())
    orders = (torch.randperm(len(t), generator=generator) for _ in range(SHUFFLES))
    others = torch.tensor([float((guess - t[order]).square().mean()) for order in orders])
    spread = float(others.std())
    return (float(others.mean()) - own) / spread if spread > 1e-12 * float(others.mean()) else 0.0
