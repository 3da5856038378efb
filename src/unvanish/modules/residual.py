"""Skips around consecutive blocks: one module that holds the blocks and adds what went around them.

    h_b ← h_b + h_a    for each path (a, b)

Everything that is carried lives in local variables of one forward pass, so such a module can be called from many
threads, checkpointed as a whole and copied.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from unvanish.core.blocks import Block, output_shapes, quiet_forward
from unvanish.core.errors import NothingToDo
from unvanish.modules.replace import replaced
from unvanish.modules.wiring import Add, Put, Then, Wire

Path = tuple[str, str]  # the names of two children; the first may be INPUT
Run = tuple[list[str], list[Path]]  # consecutive children of a sequence by name, and the paths within them
INPUT = ""


@final
class Residual(nn.Module):
    """Runs its children one after the other; after child b it adds what child a gave, for each path (a, b).

    `INPUT` stands for what the whole module gets.
    """

    def __init__(self, children: Mapping[str, nn.Module], paths: Sequence[Path]) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)
        self.paths = tuple(paths)

    def forward(self, x: Tensor) -> Tensor:
        given = {INPUT: x}
        for name, child in self.named_children():
            x = child(x)
            for start, end in self.paths:
                if end == name:
                    x = x + given[start]
            given[name] = x
        return x

    def extra_repr(self) -> str:
        return ", ".join(f"{start or 'input'} → {end}" for start, end in self.paths)


@final
class Gate(nn.Module):
    """Its input times one learned number, 0 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.share * x


def with_gates(model: nn.Module, blocks: Sequence[Block]) -> nn.Module:
    """A copy in which a gate stands behind each of these blocks; its output is 0 at first."""
    return replaced(model, {block[-1]: lambda last: nn.Sequential(last, Gate()) for block in blocks})


def around_each(model: nn.Module, blocks: Sequence[Block], example: Any) -> list[tuple[int, int]]:
    """The pairs (a, b) of blocks that run one on the output of the other, of equal shape, without a skip as yet.

    Blocks that are given the same tensor, as the projections of an attention are, stand side by side. `NothingToDo`
    where there is no pair.
    """
    shapes = output_shapes(model, [block[-1] for block in blocks], example) if blocks else []
    model = replaced(model, {})
    given: dict[str, Tensor] = {}
    for block in blocks:
        module = model.get_submodule(block[0])
        module.register_forward_pre_hook(partial(_note, given, block[0]))
    quiet_forward(model, example)
    pairs = [
        (k, k + 1)
        for k in range(len(blocks) - 1)
        if shapes[k] == shapes[k + 1]
        and given.get(blocks[k][0]) is not given.get(blocks[k + 1][0])
        and not _has_skip(model, blocks[k + 1][-1])
    ]
    if not pairs:
        raise NothingToDo("no two hidden blocks that run one after the other have outputs of equal shape and no skip")
    return pairs


def _note(given: dict[str, Tensor], name: str, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
    given[name] = args[0]


def _has_skip(model: nn.Module, name: str) -> bool:
    """Whether a path ends behind a module, or behind one that ends with it."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        parent, child = model.get_submodule(".".join(parts[: depth - 1])), parts[depth - 1]
        if isinstance(parent, Residual) and any(end == child for _, end in parent.paths):
            return True
        if isinstance(parent, Then) or isinstance(parent.get_submodule(child), Then):
            return True
    return False


def with_paths(
    model: nn.Module, blocks: tuple[Block, ...], pairs: Sequence[tuple[int, int]]
) -> tuple[nn.Module, tuple[Block, ...]]:
    """A copy in which the output of block a is added to that of block b for each pair (a, b), counted from 0.

    And the blocks by their names in the copy.
    """
    spans = _spans(model, blocks, pairs)
    if spans is None:
        for a, b in pairs:
            model = _wired(model, blocks[a][-1], blocks[b][-1])
        return model, blocks
    parent, runs = spans
    prefix = f"{parent}." if parent else ""
    within = {key: keys[0] for keys, _ in runs for key in keys}
    changed = replaced(model, {parent: lambda old: _around(old, runs)})
    return changed, tuple(tuple(_renamed(module, prefix, within) for module in block) for block in blocks)


def _around(parent: nn.Module, runs: Sequence[Run]) -> nn.Module:
    """The same sequence with each run of children in one `Residual`, which has the name of the first."""
    children = OrderedDict(parent.named_children())
    for keys, paths in runs:
        children[keys[0]] = Residual({name: children[name] for name in keys}, paths)
        for key in keys[1:]:
            del children[key]
    return nn.Sequential(children).train(parent.training)


def _spans(
    model: nn.Module, blocks: tuple[Block, ...], pairs: Sequence[tuple[int, int]]
) -> tuple[str, list[Run]] | None:
    """A sequence, and runs of its children that paths span; `None` where not all paths are like that."""
    spans: list[tuple[int, int, list[tuple[int, int]]]] = []
    places = [_place(model, block) for block in blocks]
    parents = {place[0] for place in places if place}
    if None in places or len(parents) != 1:
        return None
    (parent,) = parents
    keys = [key for key, _ in model.get_submodule(parent).named_children()]
    first, last = (
        [keys.index(place[1]) for place in places if place],
        [keys.index(place[2]) for place in places if place],
    )
    if any(one >= other for one, other in zip(last, first[1:], strict=False)):
        return None
    for a, b in sorted(pairs):
        if spans and spans[-1][1] > a:  # they overlap: one module for both
            spans[-1] = (spans[-1][0], max(spans[-1][1], b), [*spans[-1][2], (a, b)])
        else:
            spans.append((a, b, [(a, b)]))
    return parent, [
        (
            keys[last[start] + 1 : last[end] + 1],
            [(INPUT if a == start else keys[last[a]], keys[last[b]]) for a, b in paths],
        )
        for start, end, paths in spans
    ]


def _place(model: nn.Module, block: Block) -> tuple[str, str, str] | None:
    """The sequence that a block is a part of, and its first and last child there."""
    parents = {name.rpartition(".")[0] for name in block}
    if len(parents) != 1:
        return None
    (parent,) = parents
    while type(model.get_submodule(parent)) is nn.Sequential:
        children = [name.rpartition(".")[2] for name in block]
        keys = [key for key, _ in model.get_submodule(parent).named_children()]
        whole = keys[0] == children[0] and keys[-1] == children[-1]
        above, _, _ = parent.rpartition(".")
        if parent and whole and type(model.get_submodule(above)) is nn.Sequential:  # the block is all of its sequence
            block, parent = (parent,), above
            continue
        return parent, children[0], children[-1]
    return None


def _renamed(name: str, prefix: str, within: Mapping[str, str]) -> str:
    """Of a module in a child that is in a `Residual` now: `hidden3` is `hidden2.hidden3`."""
    rest = name.removeprefix(prefix)
    child = rest.partition(".")[0]
    return f"{prefix}{within[child]}.{rest}" if name.startswith(prefix) and child in within else name


def _wired(model: nn.Module, start: str, end: str) -> nn.Module:
    wire = Wire()
    changes = {start: lambda block: Then(block, Put(wire)), end: lambda block: Then(block, Add(wire))}
    return replaced(model, changes)
