"""The training loop: stages of epochs of plain steps, with the gradient flow measured on the way."""
# B batch, D = 784 pixels, N samples

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from unvanish.core.init import initialised
from unvanish.core.probe import Probe
from unvanish.core.record import Epoch, diverged
from unvanish.core.setup import Loss, Setup
from unvanish.core.sites import find_sites, layer_names
from unvanish.core.stages import set_training_mode, stage_network
from unvanish.data.batches import draw_base_seed, epoch_order
from unvanish.data.fashion_mnist import FashionMNIST, Images, scaled
from unvanish.engine.chain import chain_of, frozen_prefix
from unvanish.engine.checkpoint import Checkpoint, capture, restore
from unvanish.engine.flow import Flow, Schedule, to_host
from unvanish.engine.step import Step, step_for


@dataclass(frozen=True)
class Plan:
    """The numbers of a training that are not in its setup. `epochs` is what a stage of share 1 takes."""

    epochs: int
    batch: int
    seed: int


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
    start: Checkpoint | None = None,
    make_step: Callable[[nn.Module, Loss], Step] = step_for,
) -> Iterator[EpochDone | Ended]:
    """Train a setup to its end, or on from a checkpoint; the numbers are the same either way.

    Seeds torch's global stream, draws the weights, then runs the stages. A loss that is not finite ends
    the training after that epoch. Run it inside `reproducible_process()`.
    """
    torch.manual_seed(plan.seed)
    setup = initialised(setup)
    base = setup.model.to(device)
    if start:
        base.load_state_dict(start.base)
    data = FashionMNIST(data.train.to(device), data.test.to(device))
    network, state = base, "finished"

    for number, stage in enumerate(setup.stages, start=1):
        if start and number < start.stage:
            continue
        network = stage_network(setup, base, stage)
        optimizer = setup.optimizer([p for p in network.parameters() if p.requires_grad])
        done = 0
        if start and number == start.stage:
            restore(start, network, optimizer)
            done = start.epoch
        set_training_mode(setup, network, stage)
        part = _trained_part(network, data, plan.batch)
        step = make_step(part.network, setup.loss)
        flow = Flow(find_sites(setup, network), probes, schedule, layers=len(layer_names(setup)))

        for epoch in range(done + 1, stage.epochs(plan.epochs) + 1):
            began = time.perf_counter()
            measured: dict[int, np.ndarray] = {}
            set_training_mode(setup, network, stage)
            train_loss, train_acc, at_start = _train_epoch(step, optimizer, part.data.train, plan.batch, flow)
            if epoch == 1:
                measured[0] = to_host(at_start)
            measured[epoch] = to_host(flow.take())
            network.eval()
            val_loss, val_acc = _evaluate(part.network, setup.loss, part.data.test, plan.batch)
            row = Epoch(
                stage=number,
                epoch=epoch,
                train_loss=train_loss,
                train_acc=train_acc,
                val_loss=val_loss,
                val_acc=val_acc,
                seconds=time.perf_counter() - began,
            )
            yield EpochDone(row, measured, lambda s=number, e=epoch, n=network, o=optimizer: capture(s, e, base, n, o))
            if diverged(row):
                state = "diverged"
                break
        if state == "diverged":
            break
        _carry_over(network, base, setup.output)

    yield Ended(state, network.state_dict())


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
    step: Step, optimizer: torch.optim.Optimizer, images: Images, batch: int, flow: Flow
) -> tuple[float, float, Tensor]:
    """One pass over the images: mean of the batch losses, accuracy, and the flow of the very first step."""
    device = images.labels_N.device
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    at_start = torch.empty(0)
    batches = epoch_order(len(images)).to(device).split(batch)
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
        correct += (output.argmax(1) == y_B).sum()
    return loss_sum.item() / len(batches), correct.item() / len(images), at_start


@torch.no_grad()
def _evaluate(network: nn.Module, loss_of: Loss, images: Images, batch: int) -> tuple[float, float]:
    """Mean of the batch losses, and accuracy, on the test images in order."""
    draw_base_seed()  # the unshuffled loader's
    device = images.labels_N.device
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    batches = list(zip(images.pixels_ND.split(batch), images.labels_N.split(batch), strict=True))
    for x_BD, y_B in batches:
        output = network(x_BD)
        loss_sum += loss_of(output, y_B)
        correct += (output.argmax(1) == y_B).sum()
    return loss_sum.item() / len(batches), correct.item() / len(images)


def _carry_over(network: nn.Module, base: nn.Module, output: str) -> None:
    """What a stage has trained goes back into the whole network; its output layer may be of another width."""
    trained = {name: value for name, value in network.state_dict().items() if not name.startswith(f"{output}.")}
    base.load_state_dict(trained, strict=False)
