"""A checkpoint: everything from which a training goes on, bit for bit, as one safetensors buffer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.errors import StoreError
from unvanish.core.serialisation import pack, unpack


@dataclass(frozen=True)
class Checkpoint:
    """The state after `epoch` epochs of `stage` (from 1).

    base       weights and buffers of the whole network, as the stage before left them
    network    those of this stage's network
    optimizer  its tensors, by "index/name"
    groups     the rest of the optimizer's state, JSON-able
    random     the state of torch's global stream, and of the CUDA stream where there is one
    """

    stage: int
    epoch: int
    base: dict[str, Tensor]
    network: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    groups: dict[str, Any]
    random: dict[str, Tensor]

    def pack(self) -> bytes:
        tensors = {
            f"{part}/{name}": tensor
            for part in ("base", "network", "optimizer", "random")
            for name, tensor in getattr(self, part).items()
        }
        return pack({"stage": self.stage, "epoch": self.epoch, "groups": self.groups}, tensors)

    @classmethod
    def unpack(cls, buffer: bytes) -> "Checkpoint":
        meta, tensors = unpack(buffer)
        parts: dict[str, dict[str, Tensor]] = {"base": {}, "network": {}, "optimizer": {}, "random": {}}
        for key, tensor in tensors.items():
            part, _, name = key.partition("/")
            parts[part][name] = tensor
        return cls(stage=meta["stage"], epoch=meta["epoch"], groups=meta["groups"], **parts)


def fitted(kept: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The kept tensors by the network's names.

    Before version 0.2 the blocks at the ends of a skip 1→3 were `hidden1.block` and `hidden3.block`, which are
    `hidden1` and `hidden2.hidden3` now.
    """
    short = {name.replace(".block.", "."): name for name in kept}
    names = {}
    for name in network.state_dict():
        found = [old for old in short if name == old or name.endswith(f".{old}")]
        names[name] = short.get(max(found, key=len, default=""), name) if name not in kept else name
    if len(set(names.values())) < len(kept) or not set(names.values()) <= set(kept):
        raise StoreError(
            "the checkpoint is of a network with other layers than this unvanish builds for the recipe: train it from "
            "its beginning with --fresh, or go on with the version that began it"
        )
    return {name: kept[old] for name, old in names.items()}


def capture(
    stage: int,
    epoch: int,
    base: dict[str, Tensor],
    network: dict[str, Tensor],
    optimizer: dict[str, Any],
    random: Tensor,
) -> Checkpoint:
    """The present state, of `state_dict`s and of torch's CPU stream; on a CUDA device, that one's stream is added."""
    tensors: dict[str, Tensor] = {}
    others: dict[str, Any] = {}
    for index, values in optimizer["state"].items():
        for name, value in values.items():
            (tensors if isinstance(value, Tensor) else others)[f"{index}/{name}"] = value
    streams = {"cpu": random}
    device = next(iter(network.values())).device
    if device.type == "cuda":
        streams["cuda"] = torch.cuda.get_rng_state(device)
    groups = {"param_groups": optimizer["param_groups"], "others": others}
    return Checkpoint(stage, epoch, base, network, tensors, groups, streams)


def restore(
    starts: Sequence[Checkpoint], optimizer: torch.optim.Optimizer, join: Callable[[Sequence[Tensor]], Tensor]
) -> None:
    """Put the optimizer of these runs where it was, and the CUDA stream of random numbers."""
    first = starts[0]
    joined = {key: join([start.optimizer[key] for start in starts]) for key in first.optimizer}
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**joined, **first.groups["others"]}.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": first.groups["param_groups"]})
    device = optimizer.param_groups[0]["params"][0].device
    if "cuda" in first.random and device.type == "cuda":
        torch.cuda.set_rng_state(first.random["cuda"], device)
