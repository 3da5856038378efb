"""The batches of a repair, in three parts: to train on, to select by, and to prove by, which no selection has seen."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from unvanish.core.errors import UnvanishError
from unvanish.core.nested import mapped
from unvanish.train.batches import Batch, with_samples

MOST_BATCHES, MOST_BYTES = 500, 2**30  # read into memory; of more, the first
LEAST = 64  # samples in each of the parts that are held out
SHARE = 5  # a fifth of the batches to select by, and a fifth to prove by


@dataclass(frozen=True)
class Parts:
    """whole         all batches that there were
    example       the first inputs that are trained on, and as Python
    why           what is missing for a proof, if anything is
    """

    train: Sequence[Batch]
    select: Sequence[Batch]
    prove: Sequence[Batch]
    whole: bool
    example: Any
    example_code: str
    why: str = ""

    @property
    def samples(self) -> tuple[int, int, int]:
        train, select, prove = (sum(batch.size for batch in part) for part in (self.train, self.select, self.prove))
        return train, select, prove

    def order(self, seed: int, steps: int) -> Iterator[Batch]:
        """So many training batches, in an order that the seed draws anew for each pass; each a copy."""
        generator = torch.Generator().manual_seed(seed)
        taken = 0
        while taken < steps:
            for index in torch.randperm(len(self.train), generator=generator).tolist()[: steps - taken]:
                batch = self.train[index]
                yield Batch(mapped(torch.clone, batch.input), batch.target)
                taken += 1


def read(batches: Iterable[Any], device: torch.device | None) -> tuple[list[Batch], bool]:
    """The batches, in memory, and whether these are all."""
    found: list[Batch] = []
    size = 0
    source = with_samples(batches, device)
    for batch in islice(source, MOST_BATCHES):
        found.append(batch)
        size += sum(one.numel() * one.element_size() for one in _tensors(found[-1]))
        if size > MOST_BYTES:
            return found, False
    if not found:
        raise UnvanishError("there are no batches: `batches` was empty, or an iterator that is used up")
    return found, len(found) < MOST_BATCHES or next(source, None) is None


def parts_of(batches: Sequence[Batch], whole: bool) -> Parts:
    """Whole batches where there are enough, else slices of each."""
    full = [batch for batch in batches if batch.size > 1 or batches[0].size == 1]
    if len(full) >= SHARE:
        held = max(1, len(full) // SHARE)
        train, select, prove = full[: -2 * held], full[-2 * held : -held], full[-held:]
    else:
        train, select, prove = [], [], []
        for batch in full:
            held = batch.size // SHARE
            train.append(sliced(batch, 0, batch.size - 2 * held))
            select.append(sliced(batch, batch.size - 2 * held, batch.size - held))
            prove.append(sliced(batch, batch.size - held, batch.size))
    example, code = full[0].input, "next(iter(batches))" + ("" if full[0].target is None else "[0]")
    if train[0] is not full[0] and isinstance(example, Tensor):
        example, code = train[0].input, f"{code}[:{train[0].size}]"
    found = Parts(train, select, prove, whole, example, code)
    _, held_out, proof = found.samples
    if min(held_out, proof) >= LEAST:
        return found
    return replace(
        found,
        why=f"too few data: two parts of at least {LEAST} samples have to be held out, to select and to prove "
        f"by, and a fifth of the batches has {min(held_out, proof)}",
    )


def sliced(batch: Batch, start: int, end: int) -> Batch:
    """Some of its samples; tensors without them stay."""
    size = batch.size

    def part(one: Tensor) -> Tensor:
        return one[start:end] if one.dim() and len(one) == size else one

    return Batch(mapped(part, batch.input), mapped(part, batch.target))


def _tensors(batch: Batch) -> list[Tensor]:
    found: list[Tensor] = []

    def note(one: Tensor) -> Tensor:
        found.append(one)
        return one

    mapped(note, batch.input)
    mapped(note, batch.target)
    return found
