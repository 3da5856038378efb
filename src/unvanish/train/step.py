"""Taking steps: the plain way, that anyone can read, and what any way to take them has to offer the loop.

The unit is the stretch, a run of batches of one epoch, so that a way that takes many steps in one call can be another
`Steps`.
"""
# R runs (none in front where a run is alone), B batch

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from unvanish.core.nested import call
from unvanish.core.setup import Loss, Setup
from unvanish.core.table import Table
from unvanish.measure.graph.inputs import activation_inputs
from unvanish.measure.graph.layers import names_of, tensors_in
from unvanish.measure.graph.recorder import GraphRecorder, table_of
from unvanish.measure.schedule import Schedule
from unvanish.train.batches import Batch, without_graph
from unvanish.train.images import ImageData
from unvanish.train.leaves import leaf_sequence
from unvanish.train.native.form import fits, uncovered
from unvanish.train.native.library import loaded
from unvanish.train.native.sites import find_sites
from unvanish.train.native.steps import NativeSteps
from unvanish.train.native.update import holds_others
from unvanish.train.taken import Evaluated, OnStep, Taken, correct, zeros


class Steps(Protocol):
    """A way to take steps with a network, and to measure them."""

    name: str
    forward: Callable[[Any], Any]

    def run(self, stretch: Iterable[Batch], begin: int = 0, on_step: OnStep | None = None) -> Taken:
        """Take a step with each batch; the first is step `begin` of the epoch.

        on_step   is told the number of each step and its loss; where it gives True, no more are taken
        """
        ...

    def evaluate(self, batches: Iterable[Batch]) -> Evaluated:
        """Loss and accuracy, without a step."""
        ...

    def take(self) -> list[Table]:
        """What was measured since the last `take`, a table for each run; its steps are the numbers of the epoch's."""
        ...


class Recorder(Protocol):
    """What a stretch is measured by; it only reads, so the weights are the same bit for bit without it."""

    def begin(self, step: int) -> bool:
        """Whether this step of the epoch is measured."""
        ...

    def before_update(self) -> None: ...

    def after_update(self) -> None: ...

    def take(self) -> list[Table]: ...


class Gradients(Protocol):
    name: str
    loss_of: Loss

    def __call__(self, batch: Batch, *, measured: bool) -> tuple[Tensor, Any]:
        """Put the gradient of the batch's loss into `grad` of each parameter; the loss and the output, of each run."""
        ...

    @property
    def forward(self) -> Callable[[Any], Any]:
        """From inputs to outputs, without gradients being asked for."""
        ...


@final
class StepByStep:
    """One batch after the other, with any optimizer."""

    def __init__(
        self, gradients: Gradients, optimizer: torch.optim.Optimizer, recorder: Recorder, lead: tuple[int, ...] = ()
    ) -> None:
        self.gradients, self.optimizer, self.recorder, self.lead = gradients, optimizer, recorder, lead
        self.name, self.forward, self.take = gradients.name, gradients.forward, recorder.take
        self.asks_again = isinstance(optimizer, torch.optim.LBFGS)  # within a step

    def run(self, stretch: Iterable[Batch], begin: int = 0, on_step: OnStep | None = None) -> Taken:
        taken: Taken | None = None
        for number, batch in enumerate(stretch, start=begin):
            measured = self.recorder.begin(number)
            loss, output = self._step(batch, measured)
            if measured:
                self.recorder.after_update()
            taken = taken or Taken(*zeros(self.lead, loss.device))
            taken.steps += 1
            taken.samples += batch.size if not self.lead else batch.target.shape[-1]
            taken.losses += loss
            taken.correct += correct(output, batch.target, len(self.lead))
            if on_step is not None and on_step(number, loss):
                taken.stopped = True
                break
        return taken or Taken(*zeros(self.lead, None))

    def evaluate(self, batches: Iterable[Batch]) -> Evaluated:
        loss_sum, right, count, samples = *zeros(self.lead, None), 0, 0
        for batch in batches:
            output, loss = without_graph(lambda batch=batch: self._evaluated(batch))
            loss_sum = loss_sum.to(loss.device) + loss
            right = right.to(loss.device) + correct(output, batch.target, len(self.lead))
            count += 1
            samples += batch.target.shape[-1] if self.lead else batch.size
        return Evaluated(count, loss_sum / (count or float("nan")), right / (samples or float("nan")))

    def _evaluated(self, batch: Batch) -> tuple[Any, Tensor]:
        output = self.forward(batch.input)
        return output, self.gradients.loss_of(output, batch.target).detach()

    def _step(self, batch: Batch, measured: bool) -> tuple[Tensor, Any]:
        if self.asks_again:
            given: list[tuple[Tensor, Any]] = []

            def closure() -> Tensor:
                given.append(self.gradients(batch, measured=measured and not given))
                if measured and len(given) == 1:
                    self.recorder.before_update()
                return given[-1][0]

            self.optimizer.step(closure)  # pyright: ignore[reportArgumentType, reportCallIssue]  (a tensor will do)
            return given[0]
        loss, output = self.gradients(batch, measured=measured)
        if measured:
            self.recorder.before_update()
        self.optimizer.step()
        return loss, output


@final
class PlainGradients:
    """Forward, loss, backward: for any network."""

    name = "plain"

    def __init__(
        self, network: nn.Module, loss_of: Loss, optimizer: torch.optim.Optimizer, recorder: "LoopRecorder"
    ) -> None:
        self.network, self.loss_of, self.optimizer, self.recorder = network, loss_of, optimizer, recorder

    def __call__(self, batch: Batch, *, measured: bool) -> tuple[Tensor, Any]:
        self.optimizer.zero_grad()
        if measured:
            with activation_inputs(self.network) as inputs:
                output = call(self.network, batch.input)
            inputs |= {one.grad_fn: one.detach() for one in tensors_in(output) if one.grad_fn is not None}
            loss = self.loss_of(output, batch.target)
            self.recorder.graph.after_forward([loss], inputs)
        else:
            output = call(self.network, batch.input)
            loss = self.loss_of(output, batch.target)
        loss.sum().backward()  # of many runs together: each one's depends on its own weights alone
        return loss.detach(), output

    def forward(self, inputs: Any) -> Any:
        return call(self.network, inputs)


@final
class LoopRecorder:
    """The graph's recorder in our own loop: of one run, or of several together."""

    def __init__(self, graph: GraphRecorder, layers: Sequence[str] = (), lead: tuple[int, ...] = ()) -> None:
        self.graph, self.layers, self.runs = graph, layers, lead[0] if lead else 1

    def begin(self, step: int) -> bool:
        self.graph.steps = step
        return self.graph.wants()

    def before_update(self) -> None:
        self.graph.before_update()

    def after_update(self) -> None:
        self.graph.after_step()

    def take(self) -> list[Table]:
        rows, self.graph.rows = self.graph.rows, []
        return table_of(rows, self.runs, self.layers)


def plain_steps(
    network: nn.Module,
    whole: nn.Module,
    loss_of: Loss,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    blocks: Sequence[tuple[str, ...]] = (),
    layers: Sequence[str] = (),
    lead: tuple[int, ...] = (),
) -> StepByStep:
    """The plain step. `whole` holds the modules by their names; `layers` are those that its tables begin with."""
    names = names_of(whole, blocks, len(lead))
    if layers:  # of a setup, only its blocks and its output are measured
        names = {key: name for key, name in names.items() if name in layers}
    recorder = LoopRecorder(GraphRecorder(network, schedule, names=names, lead=len(lead), thin=1), layers, lead)
    return StepByStep(PlainGradients(network, loss_of, optimizer, recorder), optimizer, recorder, lead)


def native_steps(
    network: nn.Module,
    whole: nn.Module,
    setup: Setup,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    data: ImageData,
) -> NativeSteps | None:
    """The native step, where it covers the training. `whole` holds the modules by the setup's names."""
    leaves, library = leaf_sequence(network), loaded()
    options = optimizer.param_groups[0]
    if leaves is None or isinstance(library, str) or uncovered(leaves, type(optimizer), options, setup.loss_fn):
        return None
    if holds_others(optimizer, leaves) or not fits(data.images, data.batch, leaves):
        return None
    return NativeSteps(leaves, optimizer, find_sites(setup, whole), setup.layers, schedule, data.batch, library)
