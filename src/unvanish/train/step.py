"""Taking steps: the plain way, that anyone can read, and what any way to take them has to offer the loop.

The unit is the stretch, a run of batches of one epoch, so that a way that takes many steps in one call can be another
`Steps`. Which one a network gets is `steps_for`'s choice.
"""
# R runs (none in front where a run is alone), B batch

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from unvanish.core.setup import Loss
from unvanish.core.table import Table
from unvanish.measure.graph.inputs import activation_inputs
from unvanish.measure.graph.layers import names_of, tensors_in
from unvanish.measure.graph.recorder import GraphRecorder, table_of
from unvanish.measure.schedule import Schedule
from unvanish.train.batches import Batch, call
from unvanish.train.leaves import leaf_sequence
from unvanish.train.native.fast import FastGradients, has_fast_form
from unvanish.train.native.recorder import SurveyRecorder
from unvanish.train.native.sites import find_sites

OnStep = Callable[[int, Tensor], bool | None]


@dataclass
class Taken:
    """What a stretch came to. `losses` and `correct` are sums over its steps, float64, [R]; `stopped`: by `on_step`."""

    losses: Tensor
    correct: Tensor
    steps: int = 0
    samples: int = 0
    stopped: bool = False


class Steps(Protocol):
    """A way to take steps with a network, and to measure them."""

    name: str
    forward: Callable[[Any], Any]

    def run(self, stretch: Iterable[Batch], begin: int = 0, on_step: OnStep | None = None) -> Taken:
        """Take a step with each batch; the first is step `begin` of the epoch.

        on_step   is told the number of each step and its loss; where it gives True, no more are taken
        """
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
            taken.correct += correct(output, batch.target)
            if on_step is not None and on_step(number, loss):
                taken.stopped = True
                break
        return taken or Taken(*zeros(self.lead, None))

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


def correct(output: Any, target: Any) -> Tensor:
    """How many predictions are right, of each run; NaN where outputs and targets are no scores and classes."""
    classes = isinstance(target, Tensor) and not target.is_floating_point() and target.dtype != torch.bool
    scores = isinstance(output, Tensor) and output.is_floating_point() and output.dim() > 1
    if not classes or not scores or output.shape[:-1] != target.shape:
        device = next((tensor.device for tensor in tensors_in(output)), None)
        return torch.full((), float("nan"), dtype=torch.float64, device=device)
    return (output.detach().argmax(-1) == target).sum(-1)


def zeros(lead: tuple[int, ...], device: torch.device | None) -> tuple[Tensor, Tensor]:
    """A sum and a count, of each run. In float64, which counts exactly, too."""
    zero = torch.zeros(lead, dtype=torch.float64, device=device)
    return zero, zero.clone()


def fast_steps(
    network: nn.Module, whole: nn.Module, setup: Any, optimizer: torch.optim.Optimizer, schedule: Schedule
) -> StepByStep | None:
    """The fast step, where the network has a form for it. `whole` holds the modules by the setup's names."""
    leaves = leaf_sequence(network)
    if leaves is None or not has_fast_form(leaves):
        return None
    recorder = SurveyRecorder(find_sites(setup, whole), setup.layers, schedule)
    return StepByStep(FastGradients(leaves, setup.loss_fn, recorder), optimizer, recorder)
