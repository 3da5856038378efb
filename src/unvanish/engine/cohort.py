"""The runs that are trained together: each one's weights and random numbers, joined into a network and taken apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unvanish.core.init import initialised
from unvanish.core.setup import Setup, Stage
from unvanish.core.sites import Site, find_sites
from unvanish.core.stages import stage_network
from unvanish.data.batches import draw_base_seed, epoch_order
from unvanish.engine.bundle import Alone, Bundle, Together
from unvanish.engine.checkpoint import Checkpoint, capture, restore


@dataclass(frozen=True)
class Plan:
    """The numbers of a training that are not in its setup. `epochs` is what a stage of share 1 takes."""

    epochs: int
    batch: int
    seed: int


@dataclass(frozen=True)
class Member:
    """A run, from its beginning or on from a checkpoint."""

    setup: Setup
    plan: Plan
    start: Checkpoint | None = None


class Cohort:
    """Several members must be alike (of one `ensemble.shape_of`, of one plan but for the seed) and equally far.

    Made, every run has seeded its stream and drawn its weights. Between stages they are in the `bases`, the
    whole networks.
    """

    def __init__(self, members: Sequence[Member], device: torch.device) -> None:
        first = members[0]
        self.members, self.setup, self.plan = members, first.setup, first.plan
        self.begun = (first.start.stage, first.start.epoch) if first.start else (1, 0)
        self.bundle: Bundle = Alone() if len(members) == 1 else Together(len(members))
        self.streams = [self.bundle.stream(member.plan.seed) for member in members]
        self.bases: list[nn.Module] = []
        for member, stream in zip(members, self.streams, strict=True):
            with stream.turn():
                base = initialised(member.setup).model.to(device)
            if member.start:
                base.load_state_dict(member.start.base)
            self.bases.append(base)
        self.states: list[Tensor] = []  # of the streams, at the end of the last epoch

    def build(self, number: int, stage: Stage) -> tuple[nn.Module, list[Site], torch.optim.Optimizer]:
        """The network of a stage, where it is measured, and a new optimizer over what it trains."""
        networks = []
        for base, stream in zip(self.bases, self.streams, strict=True):
            with stream.turn():
                networks.append(stage_network(self.setup, base, stage))
        starts = [member.start for member in self.members if member.start and member.start.stage == number]
        for network, stream, start in zip(networks, self.streams, starts, strict=False):  # all of them or none
            network.load_state_dict(start.network)
            stream.state = start.random["cpu"]
        joined = self.bundle.network(networks)
        optimizer = self.setup.optimizer([p for p in joined.parameters() if p.requires_grad])
        if starts:
            restore(starts, optimizer, self.bundle.join)
        sites = [_moved(site, networks[0], joined) for site in find_sites(self.setup, networks[0])]
        return joined, sites, optimizer

    def epoch_order(self, samples: int) -> Tensor:
        """Every run's order of the training images."""
        orders = []
        for stream in self.streams:
            with stream.turn():
                orders.append(epoch_order(samples))
        return self.bundle.join(orders)

    def end_epoch(self) -> None:
        """Every run draws what the unshuffled loader of the test images would; from here a checkpoint goes on."""
        for stream in self.streams:
            with stream.turn():
                draw_base_seed()
        self.states = [stream.state for stream in self.streams]

    def weights(self, run: int, network: nn.Module) -> dict[str, Tensor]:
        return {name: self.bundle.part(value, run) for name, value in network.state_dict().items()}

    def checkpoint(
        self, run: int, stage: int, epoch: int, network: nn.Module, optimizer: torch.optim.Optimizer
    ) -> Checkpoint:
        """Its tensors are views: pack it before training goes on."""
        state = optimizer.state_dict()
        state["state"] = {
            index: {
                name: self.bundle.part(value, run) if isinstance(value, Tensor) else value
                for name, value in values.items()
            }
            for index, values in state["state"].items()
        }
        base = self.bases[run].state_dict()
        return capture(stage, epoch, base, self.weights(run, network), state, self.states[run])

    def carry_over(self, network: nn.Module) -> None:
        """What a stage has trained goes back into the bases; its output layer may be of another width."""
        for run, base in enumerate(self.bases):
            weights = self.weights(run, network).items()
            trained = {name: value for name, value in weights if not name.startswith(f"{self.setup.output}.")}
            base.load_state_dict(trained, strict=False)


def _moved(site: Site, network: nn.Module, joined: nn.Module) -> Site:
    """The same site in the joined network."""
    names = {module: name for name, module in network.named_modules()}
    layer = joined.get_submodule(names[site.layer])
    activation = joined.get_submodule(names[site.activation]) if site.activation else None
    return replace(site, layer=layer, activation=activation, weight=layer.weight)
