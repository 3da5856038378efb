"""The targets by themselves: one value or many, how often each class, in what order; looked at on the CPU.

The order is judged by the share of the targets' variety that lies between batches,

    1 − Σ_b n_b G_b / (n G),    G = 1 − Σ_c p_c²  (Gini's impurity, of a batch and of all),

which is about (B − 1)/(n − 1) for B shuffled batches of n samples in all and 1 where each batch has one class, against
the same with the samples permuted.
"""
# B batches, n samples, C classes

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from unvanish.diagnosis.evidence.parts import main_target
from unvanish.train.batches import Batch, batch_of

MOST_BATCHES, MOST_SAMPLES = 200, 20_000  # are looked at where the first ones look alike
MANY = 1000  # more different values are numbers, not classes
IGNORED = -100  # torch's own index for what a cross-entropy leaves out
PERMUTATIONS = 100
ALIKE, A_FIFTH = 0.9, 0.2  # of the first targets; of their variety: then more are looked at
ONE_CLASS = 0.5  # of the variety lies between the batches: they are sorted


@dataclass(frozen=True)
class Targets:
    """What the targets are.

    samples    that were looked at, in so many `batches`
    classes    how many different values there are, if they are few; 0 where they are numbers
    binary     0 and 1 only
    most       the most frequent value, and `share` how frequent it is
    low, high, mean, std   of all values
    between    the share of their variety that lies between batches; `by_chance` the most of so many permutations
    used_up    whether batches were read on that cannot be read again
    """

    samples: int = 0
    batches: int = 0
    classes: int = 0
    binary: bool = False
    integers: bool = False
    most: float = 0.0
    share: float = 0.0
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    std: float = 0.0
    between: float = 0.0
    by_chance: float = 1.0
    used_up: bool = False

    @property
    def constant(self) -> bool:
        return self.samples > 1 and self.low == self.high

    @property
    def sorted(self) -> bool:
        return self.classes > 1 and self.between > max(ONE_CLASS, self.by_chance)

    @property
    def rms(self) -> float:
        return math.hypot(self.mean, self.std)


def targets_of(batches: Sequence[Batch], more: Iterator[Any], loader: Any) -> Targets | None:
    """Of the batches that were taken; where these look alike, of the data set or of those that follow, too.

    more     the batches that follow
    loader   what gives the batches: with a sequential sampler, its data set's targets are looked at
    """
    found = [one for batch in batches if (one := _values(batch)) is not None]
    if not found:
        return None
    seen = _of(found)
    apart = seen.classes > 1 and seen.between > max(2 * seen.by_chance, A_FIFTH)
    if not (seen.constant or apart or (seen.classes and seen.share > ALIKE)):
        return seen
    whole = _of_dataset(loader)
    if whole is not None:
        size = max(len(one) for one in found)
        return _of([one for one in whole[:MOST_SAMPLES].split(size)] if len(whole) > size else found)
    count = sum(map(len, found))
    before = len(found)
    for item in islice(more, MOST_BATCHES - len(found)):
        one = _values(batch_of(item, None))
        if one is not None:
            found.append(one)
            count += len(one)
        if count >= MOST_SAMPLES:
            break
    used_up = len(found) > before and iter(loader) is loader
    return _of(found, used_up=used_up)


def _values(batch: Batch) -> Tensor | None:
    """A value a sample, [n]; of rows with a single 1 its place; of positions or pixels all of them, [n, …]."""
    target = main_target(batch)
    if target is None or target.is_complex() or not target.dim():
        return None
    target = target.detach().cpu()
    if target.is_floating_point() and target.dim() == 2 and target.shape[1] > 2 and _is_one_hot(target):
        return target.argmax(1)
    return target.squeeze(-1) if target.dim() == 2 and target.shape[1] == 1 else target


def _is_one_hot(target: Tensor) -> bool:
    return bool(((target == 0) | (target == 1)).all() and (target.sum(1) == 1).all())


def _of_dataset(loader: Any) -> Tensor | None:
    """The targets of a data set that a loader goes through in order; `None` where they are not at hand."""
    if not isinstance(getattr(loader, "sampler", None), torch.utils.data.SequentialSampler):
        return None
    dataset = getattr(loader, "dataset", None)
    found = next((getattr(dataset, name) for name in ("targets", "labels", "y") if hasattr(dataset, name)), None)
    if found is None and isinstance(dataset, torch.utils.data.TensorDataset):
        found = dataset.tensors[-1]
    try:
        return None if found is None else torch.as_tensor(found).cpu()
    except (TypeError, ValueError, RuntimeError):
        return None


def _of(found: Sequence[Tensor], *, used_up: bool = False) -> Targets:
    flat = [one.flatten() for one in found]
    values = torch.cat(flat)
    integers = not values.is_floating_point()
    values = values[values != IGNORED] if integers else values[torch.isfinite(values)]
    samples = sum(len(one) for one in found)
    if not len(values):
        return Targets(samples, len(found), used_up=used_up)
    wide = values.double()
    unique, counts = torch.unique(values[: 10 * MOST_SAMPLES], return_counts=True)
    whole = integers or bool((unique == unique.round()).all())
    classes = len(unique) if len(unique) <= MANY and whole and len(unique) < max(3, len(values) / 2) else 0
    place = int(counts.argmax())
    between, by_chance = (0.0, 1.0)
    if classes > 1 and len(found) > 1 and all(one.dim() == 1 for one in found):
        between, by_chance = _between(flat, unique)
    return Targets(
        samples,
        len(found),
        classes,
        bool(((unique == 0) | (unique == 1)).all()),
        integers,
        float(unique[place]),
        float(counts[place]) / float(counts.sum()),
        float(wide.min()),
        float(wide.max()),
        float(wide.mean()),
        float(wide.std(correction=0)),
        between,
        by_chance,
        used_up,
    )


def _between(parts: Sequence[Tensor], unique: Tensor) -> tuple[float, float]:
    """The share of the variety between the batches, and the largest of the permutations'."""
    sizes = [len(part) for part in parts]
    which = torch.searchsorted(unique, torch.cat(list(parts)).contiguous())
    generator = torch.Generator().manual_seed(0)

    def share(order: Tensor) -> float:
        counts_BC = torch.stack([torch.bincount(one, minlength=len(unique)) for one in order.split(sizes)]).double()
        all_C, n_B = counts_BC.sum(0), counts_BC.sum(1)
        within = (n_B - (counts_BC**2).sum(1) / n_B.clamp(min=1)).sum()
        whole = all_C.sum() - (all_C**2).sum() / all_C.sum()
        return float(1 - within / whole) if whole > 0 else 0.0

    permuted = (share(which[torch.randperm(len(which), generator=generator)]) for _ in range(PERMUTATIONS))
    return share(which), max(permuted)
