"""The training loop: stages of epochs of steps, of one run or of several together, with the gradient flow measured."""
# R runs (none in front where a run is alone), B batch, D = 784 pixels, N samples

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from unvanish.core.probe import Probe
from unvanish.core.record import Epoch, diverged
from unvanish.core.schedule import Schedule
from unvanish.core.setup import Loss, Setup
from unvanish.core.sites import layer_names
from unvanish.core.stages import set_training_mode
from unvanish.data.fashion_mnist import FashionMNIST, Images, scaled
from unvanish.engine.captured import CapturedStep, CudaGraph, Replayed
from unvanish.engine.chain import chain_of, frozen_prefix
from unvanish.engine.checkpoint import Checkpoint
from unvanish.engine.cohort import Cohort, Member, Plan
from unvanish.engine.flow import Flow
from unvanish.engine.meter import AtOnce, Compiled
from unvanish.engine.step import Step, step_for
from unvanish.kernels.library import library


@dataclass(frozen=True)
class EpochDone:
    """After each epoch. `flow` maps epoch to probes × layers; `checkpoint` is of now, so call it at once."""

    row: Epoch
    flow: dict[int, np.ndarray]
    checkpoint: Callable[[], Checkpoint]


@dataclass(frozen=True)
class Ended:
    """After the last epoch. `state` is "finished" or "diverged"."""

    state: str
    weights: dict[str, Tensor]


def train(
    setup: Setup,
    plan: Plan,
    data: FashionMNIST,
    *,
    probes: Sequence[Probe],
    schedule: Schedule,
    device: torch.device,
    make_step: Callable[[nn.Module, Loss], Step] = step_for,
) -> Iterator[EpochDone | Ended]:
    """Train one setup from its beginning to its end, as `train_together` does."""
    options = {"probes": probes, "schedule": schedule, "device": device, "make_step": make_step}
    for happened in train_together([Member(setup, plan)], data, **options):
        yield from (item for _, item in happened)


def train_together(
    members: Sequence[Member],
    data: FashionMNIST,
    *,
    probes: Sequence[Probe],
    schedule: Schedule,
    device: torch.device,
    make_step: Callable[[nn.Module, Loss], Step] = step_for,
) -> Iterator[list[tuple[int, EpochDone | Ended]]]:
    """Train the runs of a cohort to their end: what an epoch brings to each, by the number of the member.

    A run that goes on from a checkpoint gets the same numbers as without the break. A loss that is not
    finite ends its run after the epoch. Use it inside `reproducible_process()`.
    """
    cohort = Cohort(members, device)
    setup, plan, bundle = cohort.setup, cohort.plan, cohort.bundle
    data = FashionMNIST(data.train.to(device), data.test.to(device))
    loss_of = bundle.mapped(setup.loss)
    running, (first_stage, done), network = set(range(len(members))), cohort.begun, cohort.bases[0]

    for number, stage in enumerate(setup.stages[first_stage - 1 :], start=first_stage):
        network, sites, optimizer = cohort.build(number, stage)
        set_training_mode(setup, network, stage)
        part = _trained_part(network, data, plan.batch)
        step, forward = make_step(part.network, loss_of), part.network
        if device.type == "cuda":
            graph = CudaGraph(device)
            step, forward = CapturedStep(step, part.network, graph), Replayed(part.network, graph)
        meter = Compiled() if device.type == "cpu" and not bundle.lead and library() else AtOnce(bundle)
        flow = Flow(sites, probes, schedule, len(layer_names(setup)), meter)
        last, ahead = stage.epochs(plan.epochs), None

        for epoch in range(done + 1, last + 1):
            began = time.perf_counter()
            set_training_mode(setup, network, stage)
            order = cohort.epoch_order(len(data.train)) if ahead is None else ahead
            trained, at_start = _train_epoch(step, optimizer, part.data.train, order.to(device), plan.batch, flow)
            network.eval()
            evaluated = _evaluate(forward, loss_of, part.data.test, plan.batch, bundle.lead)
            cohort.end_epoch()
            ahead = cohort.epoch_order(len(data.train)) if epoch < last else None  # a GPU is still at work
            figures = torch.stack([*trained, *evaluated], -1).cpu()
            flows = {epoch: flow.take().double().cpu()} | ({0: at_start.double().cpu()} if epoch == 1 else {})
            seconds = (time.perf_counter() - began) / len(running)
            happened: list[tuple[int, EpochDone | Ended]] = []
            for run in sorted(running):
                row = Epoch(number, epoch, *bundle.part(figures, run).tolist(), seconds=seconds)
                measured = {key: bundle.part(values, run).numpy() for key, values in sorted(flows.items())}
                now = partial(cohort.checkpoint, run, number, epoch, network, optimizer)
                happened.append((run, EpochDone(row, measured, now)))
                if diverged(row):
                    running.discard(run)
                    happened.append((run, Ended("diverged", cohort.weights(run, network))))
            yield happened
            if not running:
                return
        done = 0
        cohort.carry_over(network)

    yield [(run, Ended("finished", cohort.weights(run, network))) for run in sorted(running)]


@dataclass(frozen=True)
class _Part:
    """What a stage really trains, and on what: behind a frozen prefix, its output stands in for the images."""

    network: nn.Module
    data: FashionMNIST


def _trained_part(network: nn.Module, data: FashionMNIST, batch: int) -> _Part:
    chain = chain_of(network)
    cut = frozen_prefix(chain) if chain else 0
    if chain is None or cut == 0:
        scaled_test = replace(data.test, pixels_ND=scaled(data.test.pixels_ND))  # once, not every epoch
        return _Part(network, replace(data, test=scaled_test))
    prefix = nn.Sequential(*chain[:cut])
    return _Part(
        nn.Sequential(*chain[cut:]),
        FashionMNIST(_passed(data.train, prefix, batch), _passed(data.test, prefix, batch)),
    )


@torch.no_grad()
def _passed(images: Images, prefix: nn.Module, batch: int) -> Images:
    features = [prefix(scaled(pixels_BD)) for pixels_BD in images.pixels_ND.split(batch)]
    return replace(images, pixels_ND=torch.cat(features))


def _train_epoch(
    step: Step, optimizer: torch.optim.Optimizer, images: Images, order: Tensor, batch: int, flow: Flow
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """One pass over the images: mean of the batch losses, accuracy; and the flow of the very first step."""
    loss_sum, correct = _zeros(order.shape[:-1], order.device)
    at_start = torch.empty(0)
    batches = order.split(batch, -1)
    for number, picked_B in enumerate(batches):
        x_BD, y_B = images.batch(picked_B)
        flow.begin(number)
        loss, output = step.gradients(x_BD, y_B, flow)
        flow.after_backward()
        optimizer.step()
        flow.after_update()
        if number == 0:
            at_start = flow.first()
        loss_sum += loss
        correct += _correct(output, y_B)
    return (loss_sum / len(batches), correct / len(images)), at_start


@torch.no_grad()
def _evaluate(
    forward: Callable[[Tensor], Tensor], loss_of: Loss, images: Images, batch: int, lead: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Mean of the batch losses, and accuracy, on the test images in order."""
    loss_sum, correct = _zeros(lead, images.labels_N.device)
    batches = list(zip(images.pixels_ND.split(batch), images.labels_N.split(batch), strict=True))
    for x_BD, y_B in batches:
        x_BD, y_B = x_BD.expand(*lead, *x_BD.shape), y_B.expand(*lead, *y_B.shape)
        output = forward(x_BD)
        loss_sum += loss_of(output, y_B)
        correct += _correct(output, y_B)
    return loss_sum / len(batches), correct / len(images)


def _correct(output: Tensor, y_B: Tensor) -> Tensor:
    return (output.argmax(-1) == y_B).sum(-1)


def _zeros(lead: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """A sum and a count, of each run. In float64, which counts exactly, too."""
    zero = torch.zeros(lead, dtype=torch.float64, device=device)
    return zero, zero.clone()
