"""The training loop: stages of epochs of steps, of one run or of several together, measured on the way."""
# R runs (none in front where a run is alone)

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.core.curve import Epoch
from unvanish.core.setup import Loss
from unvanish.core.table import Table
from unvanish.measure.schedule import Schedule
from unvanish.modules.freeze import set_training_mode
from unvanish.train.batches import Batch, Data
from unvanish.train.captured import CapturedGradients, CudaGraph
from unvanish.train.checkpoint import Checkpoint
from unvanish.train.group import Run, RunGroup
from unvanish.train.images import ImageData
from unvanish.train.leaves import frozen_prefix, leaf_sequence
from unvanish.train.step import PlainGradients, StepByStep, Steps, native_steps, plain_steps
from unvanish.train.taken import Evaluated, OnStep, Taken


@dataclass(frozen=True, eq=False)
class EpochDone:
    """After each epoch. `measured` has its mean, and before it the very first step of a stage as epoch 0.

    `checkpoint` is of now, so call it at once. `last`: what comes next is the end.
    """

    row: Epoch
    measured: tuple[Table, ...]
    checkpoint: Callable[[], Checkpoint]
    last: bool


@dataclass(frozen=True, eq=False)
class Ended:
    """After the last epoch. `state` is "finished" or "diverged"."""

    state: str
    weights: dict[str, Tensor]


Happened = list[tuple[int, EpochDone | Ended]]


def train(
    runs: Sequence[Run],
    data: Data,
    *,
    schedule: Schedule,
    device: torch.device,
    on_step: OnStep | None = None,
    fast: bool = True,
) -> Iterator[Happened]:
    """Train some runs of one kind to their end: what an epoch brings to each, by the number of the run.

    A run that goes on from a checkpoint gets the same numbers as without the break. A loss that is not finite ends
    its run after the epoch. Use it inside `reproducible_process()`.

    schedule   which steps of an epoch are measured
    on_step    is told the number of each step in its epoch and its loss; where it gives True, the training ends
    fast       whether a step may be compiled or recorded where that is known to work: not for anyone's model
    """
    group = RunGroup(runs, device)
    setup, loss_of = group.setup, group.runs.mapped(group.setup.loss_fn)
    running, (first_stage, done) = set(range(len(runs))), group.begun
    network: nn.Module = group.bases[0]
    for number, stage in enumerate(setup.stages[first_stage - 1 :], start=first_stage):
        network, optimizer = group.build(number, stage)
        set_training_mode(setup, network, stage)
        part, prefix = _trained_part(network)
        own, last = data.behind(prefix), stage.epochs(group.epochs)
        steps = _steps(part, network, group, optimizer, loss_of, schedule, device, own if fast else None)
        order: Iterable[Batch] | None = None
        for epoch in range(done + 1, last + 1):
            began = time.perf_counter()
            set_training_mode(setup, network, stage)
            taken = steps.run(own.epoch(group.draw) if order is None else order, on_step=on_step)
            network.eval()
            evaluated = steps.evaluate(own.held_out())
            own.end_epoch(group.draw)
            group.end_epoch()
            ending = epoch == last or own.ended or taken.stopped
            order = None if ending else own.epoch(group.draw)  # a GPU is still at work
            figures = _figures(taken, evaluated, device)
            tables = [_of_epoch(table, number, epoch) for table in steps.take()]
            seconds = (time.perf_counter() - began) / len(running)
            happened: Happened = []
            for run in sorted(running):
                row = Epoch(number, epoch, *group.runs.part(figures, run).tolist(), seconds=seconds)
                now = partial(group.checkpoint, run, number, epoch, network, optimizer)
                happened.append((run, EpochDone(row, tables[run], now, ending and number == len(setup.stages))))
                if not isfinite(row.train_loss) or (evaluated.batches and not isfinite(row.val_loss)):
                    running.discard(run)
                    happened.append((run, Ended("diverged", group.weights(run, network))))
            yield happened
            if not running:
                return
            if ending:
                break
        done = 0
        group.carry_over(network)

    yield [(run, Ended("finished", group.weights(run, network))) for run in sorted(running)]


def _steps(
    part: nn.Module,
    network: nn.Module,
    group: RunGroup,
    optimizer: torch.optim.Optimizer,
    loss_of: Loss,
    schedule: Schedule,
    device: torch.device,
    data: Data | None,
) -> Steps:
    """How this network takes its steps over the data: natively where that covers it, else plainly; on CUDA, recorded.

    Plainly, too, where `data` is `None`.
    """
    setup = group.setup
    if device.type == "cpu" and not group.runs.lead and isinstance(data, ImageData):
        found = native_steps(part, network, setup, optimizer, schedule, data)
        if found is not None:
            return found
    blocks = (*setup.blocks, (setup.output,))
    options: dict[str, Any] = {"blocks": blocks, "layers": setup.layers, "lead": group.runs.lead}
    plain = plain_steps(part, network, loss_of, optimizer, schedule, **options)
    if data is None or device.type != "cuda" or not isinstance(plain.gradients, PlainGradients):
        return plain
    captured = CapturedGradients(plain.gradients, CudaGraph(device))
    return StepByStep(captured, optimizer, plain.recorder, group.runs.lead)


def _trained_part(network: nn.Module) -> tuple[nn.Module, nn.Module | None]:
    """What a stage really trains; and a frozen prefix, whose output can stand in for the data."""
    leaves = leaf_sequence(network)
    cut = frozen_prefix(leaves) if leaves else 0
    if leaves is None or cut == 0:
        return network, None
    return nn.Sequential(*leaves[cut:]), nn.Sequential(*leaves[:cut])


def _figures(taken: Taken, evaluated: Evaluated, device: torch.device) -> Tensor:
    """Training loss and accuracy, and what was evaluated, of each run, in one transfer from the device."""
    means = (taken.losses / max(1, taken.steps), taken.correct / max(1, taken.samples))
    figures = (*means, evaluated.loss, evaluated.accuracy)
    return torch.stack([figure.to(device) for figure in figures], -1).cpu()


def _of_epoch(table: Table, stage: int, epoch: int) -> tuple[Table, ...]:
    if not table.steps:
        return ()
    mean = table.mean((stage, epoch))
    return (replace(table.at(0), steps=((stage, 0),)), mean) if epoch == 1 else (mean,)
