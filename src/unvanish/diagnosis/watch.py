"""`watch`: measure a network while it trains, in whatever loop, and diagnose it.

It follows the model's forward pass and the optimizer's step, on the steps of a schedule; between them it
costs nothing. The loop is left as it is, and the training is the same bit for bit.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import nn

from unvanish.core.arguments import in_brief
from unvanish.core.errors import UnvanishError
from unvanish.core.table import Table, joined
from unvanish.core.values import counted
from unvanish.diagnosis.described import described
from unvanish.diagnosis.diagnosis import Diagnosis, diagnose
from unvanish.diagnosis.evidence.parameters import Parameters, parameters_of
from unvanish.diagnosis.examination import Examination
from unvanish.diagnosis.given import refuse_another_s
from unvanish.diagnosis.hooks import Hook, whatever_hides
from unvanish.diagnosis.loop import LoopCounter
from unvanish.diagnosis.trial.isolation import unwrapped
from unvanish.diagnosis.trial.symmetry import alike
from unvanish.diagnosis.watched import StandingStill, examination_of, stands_still
from unvanish.measure.graph.layers import tensors_in
from unvanish.measure.graph.recorder import GraphRecorder
from unvanish.measure.schedule import Schedule, schedule_of
from unvanish.measure.series import Series, SeriesMapping

ELEMENTS = 8192  # of an activation are looked at
WAITING = 256  # measured steps stay on the device at most, until somebody asks


class Writer(Protocol):
    """Takes the numbers of a measured step, by names such as `unvanish/backward_rms/encoder.0`."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...


class Watch:
    """A context manager; see `watch`. Also usable as `flow = watch(…).start()` and `flow.stop()`.

    Nothing that fails while it measures reaches the training: that quantity is NaN from there on, with one warning,
    and after three different failures no more is measured.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        every: int | Schedule | None = None,
        write: Writer | Sequence[Writer] = (),
    ) -> None:
        if not isinstance(model, nn.Module):
            raise UnvanishError(f"watch() takes the torch.nn.Module that the loop calls, not {in_brief(model)}")
        self.model, self.optimizer = model, optimizer
        if optimizer is not None and hasattr(optimizer, "param_groups"):
            refuse_another_s(optimizer, unwrapped(model))
        self.writers: tuple[Writer, ...] = tuple(write) if isinstance(write, Sequence) else (write,)
        self._inner = unwrapped(model)
        self._recorder = GraphRecorder(self._inner, schedule_of(every), elements=ELEMENTS)
        self._tables: list[Table] = []
        self._unfold = whatever_hides(model)
        self._counter = LoopCounter(self._inner)
        self._parameters: Parameters | None = None
        self._still: StandingStill | None = None
        self._hooks: list[Any] = []
        self._during = ExitStack()

    @property
    def steps(self) -> int:
        """How many optimizer steps were seen."""
        return self._recorder.steps

    def __repr__(self) -> str:
        state = "running" if self._hooks else "stopped"
        steps = f"{counted(self.steps, 'step')}, {len(self.table.steps)} measured"
        return f"Watch({type(self._inner).__name__}: {steps}, {state})"

    def plot(self, quantity: str = "backward_norm") -> Any:
        """A chart of one quantity: layers along x, a line a measured step. The same as `series[quantity].plot()`."""
        return self.series[quantity].plot()

    def _repr_html_(self) -> str:
        """What a notebook shows: the diagnosis so far."""
        return self.diagnose()._repr_html_() if self.table.steps else f"<pre>{self!r}</pre>"

    def start(self) -> "Watch":
        if self._hooks:
            raise UnvanishError("this watch has started already")
        if self.model._compiled_call_impl is not None:
            raise UnvanishError(
                f"{type(self.model).__name__} was compiled in place, and with it the hooks that a watch needs: train "
                "and watch `torch.compile(model)` instead of calling `model.compile()`"
            )
        if self.optimizer is not None:
            if not hasattr(self.optimizer, "register_step_post_hook"):
                raise UnvanishError(
                    f"{type(self.optimizer).__name__} is no torch.optim.Optimizer and cannot be followed: give the "
                    "one inside, or none and call flow.step() after each update"
                )
            self._hooks += [
                self.optimizer.register_step_pre_hook(Hook(self.before_update)),
                self.optimizer.register_step_post_hook(Hook(self.after_step)),
            ]
        self._hooks += [
            self.model.register_forward_pre_hook(Hook(self.before_forward), prepend=True),
            # also after an exception, so that nothing stays switched off
            self.model.register_forward_hook(Hook(self.after_forward, last=True), always_call=True),
        ]
        return self

    def stop(self) -> None:
        """Take every hook away; what was measured stays."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._during.close()
        self._recorder.forget()

    def __enter__(self) -> "Watch":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def step(self) -> None:
        """Call this after each update in a loop without an optimizer object, and nowhere else."""
        if self.optimizer is not None:
            raise UnvanishError(
                "flow.step() is for loops without an optimizer: this watch follows the optimizer's own steps"
            )
        self.after_step()

    # What the hooks call; a loop of another kind may call them itself, in this order.

    def before_forward(self) -> None:
        self._during.close()
        if self._unfold is not None and self._recorder.wants() and torch.is_grad_enabled():
            self._during.enter_context(self._unfold())

    def after_forward(self, output: Any) -> None:
        """`output` is the model's, or the loss: anything that the backward pass will start from."""
        self._during.close()
        self._counter.forwards += 1
        follows, wants = self._counter.follows, self._recorder.wants()
        if not follows and not wants:
            return
        outputs = [tensor for tensor in tensors_in(output) if tensor.grad_fn is not None]
        if outputs and follows:
            self._recorder.guard.run(("the loop",), self._counter.after_forward, outputs)
        if outputs and wants:
            if self._parameters is None:
                self._recorder.guard.run(("parameters",), self._look_at_parameters, outputs)
            self._recorder.after_forward(outputs)
            # now, because a closure may be run within the optimizer's step, and an update be made without an optimizer
            self._recorder.guard.run(("weights", "update"), self._recorder.keep_weights)

    def _look_at_parameters(self, outputs: Sequence[torch.Tensor]) -> None:
        names = self._recorder.names
        self._parameters = parameters_of(self._inner, self.optimizer, outputs, names)
        self._still = StandingStill((p for p in self._inner.parameters() if p.requires_grad), names)

    def before_update(self) -> None:
        self._recorder.guard.run(("weights", "update"), self._recorder.before_update)

    def after_step(self) -> None:
        before = len(self._recorder.rows)
        self._counter.after_step()
        self._recorder.after_step()
        if len(self._recorder.rows) > before:
            if self.writers:
                self._write()
            if len(self._recorder.rows) + len(self._tables) > WAITING:
                _ = self.table

    @property
    def table(self) -> Table:
        """Everything that was measured; this is what waits for the device."""
        self._take()
        if len(self._tables) > 1:
            self._tables = [joined(self._tables)]
        return self._tables[0] if self._tables else Table()

    def _take(self) -> None:
        if self._recorder.rows:
            self._tables.append(self._recorder.take())

    @property
    def readings(self) -> list[tuple[Any, Table]]:
        """Deprecated: `table`, which has all steps."""
        warnings.warn("flow.readings is flow.table now, of all steps", DeprecationWarning, stacklevel=2)
        table = self.table
        return [(step, table.at(index)) for index, step in enumerate(table.steps)]

    @property
    def series(self) -> Mapping[str, Series]:
        """What was measured, by quantity: `flow.series["backward_rms"].values` is [measured steps, layers]."""
        return SeriesMapping(self.table)

    def diagnose(self) -> Diagnosis:
        """What the last measured steps tell. Without a trial only what is plain is called a fault."""
        table = self.table
        title = type(self._inner).__name__
        failed = tuple(f"{' of '.join(reversed(key))} ({why})" for key, why in self._recorder.guard.failed.items())
        if self._recorder.unseen:
            failed += (f"{', '.join(self._recorder.unseen)}: operations that are not known",)
        loop = self._counter.loop if self.optimizer is not None else None
        if not table.steps:
            missing = self._counter.missing(title, self.optimizer is not None)
            found = diagnose(Examination(notes=failed, loop=loop, parameters=self._parameters), title=title)
            return found if found.primary is not None else replace(found, verdict=f"Nothing was measured: {missing}.")
        known = self._still.of(self._parameters) if self._parameters and self._still else None
        examination = replace(
            examination_of(table),
            unused=self._recorder.missing,
            symmetric=alike(self._inner, self._inner, self._recorder.names) if self.steps >= 3 else (),
            notes=failed,
            loop=replace(loop, rates=self._rates(), still=stands_still(table)) if loop is not None else None,
            parameters=known,
        )
        return diagnose(examination, title=title, described=described(self._inner, self._recorder.names))

    def _rates(self) -> tuple[float, ...]:
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        return tuple(float(group["lr"]) for group in groups if "lr" in group)

    def _write(self) -> None:
        self._take()
        values = dict(_flat(self._tables[-1]))
        for writer in self.writers:
            try:
                writer.write(self.steps - 1, values)
            except Exception as error:  # a server that is away must not end a training
                self.writers = tuple(one for one in self.writers if one is not writer)
                warnings.warn(
                    f"{type(writer).__name__} failed at step {self.steps - 1} and gets no more numbers: {error}",
                    stacklevel=2,
                )


def watch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    every: int | Schedule | None = None,
    write: Writer | Sequence[Writer] = (),
) -> Watch:
    """Measure a model while it trains: `with watch(model, optimizer) as flow:` around any loop.

    model      the module that the loop calls, wrapped or not
    optimizer  whose steps are counted; without one, call `flow.step()` after each update
    every      measure on every so many steps, or on those for which a function of the step is true; by default
               some of the first 50 steps and then every 50th
    write      where the numbers go as they are measured: a `Writer`, or several

    With a `GradScaler` the backward signal is that of the scaled loss; its ratios between layers are the same.

    The training is the same bit for bit. `flow.diagnose()` gives a `Diagnosis`, `flow.series[quantity]` numbers.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> with watch(model, optimizer) as flow:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         model(torch.ones(16, 4)).square().mean().backward()
    ...         optimizer.step()
    >>> flow.steps, flow.series["weight_gradient_norm"].steps
    (3, (0, 1, 2))
    """
    return Watch(model, optimizer, every=every, write=write)


def _flat(table: Table) -> Iterator[tuple[str, float]]:
    for name in table.values:
        for layer, value in zip(table.layers, table.row(name).tolist(), strict=True):
            if value == value:  # NaN: there is no such number
                yield f"unvanish/{name}/{layer}", value
