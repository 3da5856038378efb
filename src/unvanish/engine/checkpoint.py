"""A checkpoint: everything from which a training goes on, bit for bit, as one safetensors buffer."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.packing import pack, unpack


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


def capture(
    stage: int, epoch: int, base: nn.Module, network: nn.Module, optimizer: torch.optim.Optimizer
) -> Checkpoint:
    """The present state. Its tensors are views: pack it before training goes on."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    others: dict[str, Any] = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            (tensors if isinstance(value, Tensor) else others)[f"{index}/{name}"] = value
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        random["cuda"] = torch.cuda.get_rng_state()
    return Checkpoint(
        stage=stage,
        epoch=epoch,
        base=base.state_dict(),
        network=network.state_dict(),
        optimizer=tensors,
        groups={"param_groups": state["param_groups"], "others": others},
        random=random,
    )


def restore(checkpoint: Checkpoint, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the stage's network, its optimizer and the random streams where they were."""
    network.load_state_dict(checkpoint.network)
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**checkpoint.optimizer, **checkpoint.groups["others"]}.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": checkpoint.groups["param_groups"]})
    torch.set_rng_state(checkpoint.random["cpu"])
    if "cuda" in checkpoint.random and torch.cuda.is_available():
        torch.cuda.set_rng_state(checkpoint.random["cuda"])
