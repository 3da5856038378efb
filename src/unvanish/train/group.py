"""The runs that are trained together: each one's weights and random numbers, joined into a network and taken apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unvanish.core.setup import Setup, Stage
from unvanish.modules.freeze import stage_network
from unvanish.train.checkpoint import Checkpoint, capture, fitted, restore
from unvanish.train.runs import Alone, Runs, Together


@dataclass(frozen=True, eq=False)
class Run:
    """A run, from its beginning or on from a checkpoint. `epochs` is what a stage of share 1 takes."""

    setup: Setup
    epochs: int
    seed: int
    start: Checkpoint | None = None


class RunGroup:
    """Several runs must be alike (of one `ensemble.shape_of`, of one length) and equally far.

    Made, every run has seeded its stream and drawn its weights. Between stages they are in the `bases`, the
    whole networks.
    """

    def __init__(self, runs: Sequence[Run], device: torch.device) -> None:
        first = runs[0]
        self.members, self.setup, self.epochs = runs, first.setup, first.epochs
        self.begun = (first.start.stage, first.start.epoch) if first.start else (1, 0)
        self.runs: Runs = Alone() if len(runs) == 1 else Together(len(runs))
        self.streams = [self.runs.stream(run.seed) for run in runs]
        self.bases: list[nn.Module] = []
        for run, stream in zip(runs, self.streams, strict=True):
            with stream.turn():
                base = run.setup.drawn().to(device)
            if run.start:
                base.load_state_dict(fitted(run.start.base, base))
            self.bases.append(base)
        self.states: list[Tensor] = []  # of the streams, at the end of the last epoch

    def build(self, number: int, stage: Stage) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The network of a stage, and a new optimizer over what it trains."""
        networks = []
        for base, stream in zip(self.bases, self.streams, strict=True):
            with stream.turn():
                networks.append(stage_network(self.setup, base, stage))
        starts = [run.start for run in self.members if run.start and run.start.stage == number]
        for network, stream, start in zip(networks, self.streams, starts, strict=False):  # all of them or none
            network.load_state_dict(fitted(start.network, network))
            stream.state = start.random["cpu"]
        joined = self.runs.network(networks)
        optimizer = self.setup.optimizer([p for p in joined.parameters() if p.requires_grad])
        if starts:
            restore(starts, optimizer, self.runs.join)
        return joined, optimizer

    def draw(self, from_stream: Callable[[], Tensor]) -> Tensor:
        """What every run draws from its own stream, joined."""
        drawn = []
        for stream in self.streams:
            with stream.turn():
                drawn.append(from_stream())
        return self.runs.join(drawn)

    def end_epoch(self) -> None:
        """From here a checkpoint goes on."""
        self.states = [stream.state for stream in self.streams]

    def weights(self, run: int, network: nn.Module) -> dict[str, Tensor]:
        return {name: self.runs.part(value, run) for name, value in network.state_dict().items()}

    def checkpoint(
        self, run: int, stage: int, epoch: int, network: nn.Module, optimizer: torch.optim.Optimizer
    ) -> Checkpoint:
        """Its tensors are views: pack it before training goes on."""
        state = optimizer.state_dict()
        state["state"] = {
            index: {
                name: self.runs.part(value, run) if isinstance(value, Tensor) else value
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
