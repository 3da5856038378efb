"""`watch`: measure a network while it trains, in whatever loop, and diagnose it.

It listens to the model's forward pass and to the optimizer's step, on the steps of a schedule; between them it
costs nothing. The loop is left as it is, and the training is the same bit for bit.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unvanish.core.check import Examination
from unvanish.core.errors import UnvanishError
from unvanish.core.reading import QUANTITIES, Reading, mean_reading
from unvanish.core.schedule import Schedule
from unvanish.doctor.diagnosis import Diagnosis, diagnose
from unvanish.doctor.graph import Layer, names_of, tensors_in
from unvanish.doctor.listening import Ear, whatever_hides
from unvanish.doctor.measure import Measured, Pass, fetched, gradient_norms, listen, measured, update_ratios
from unvanish.doctor.schedule import schedule_of
from unvanish.doctor.symmetry import alike
from unvanish.doctor.untouched import unwrapped

ELEMENTS = 8192  # of an activation are looked at
RECENT = 32  # readings that a diagnosis is made of
THIN = 32  # of steps measured in a row, every so many is thorough: it looks forward, at gradients and at updates too
WAITING = 256  # measured steps stay on the device at most, until somebody asks
PASSES = 4  # of a step are measured, where gradients are accumulated over several


class Writer(Protocol):
    """Takes the numbers of a measured step, by names such as `unvanish/backward_rms/encoder.0`."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...


class Watch:
    """A context manager; see `watch`. Also usable as `flow = watch(…).start()` and `flow.stop()`.

    steps   how many optimizer steps were seen
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        every: int | Schedule | None = None,
        write: Writer | Sequence[Writer] = (),
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.schedule = schedule_of(every)
        self.writers: tuple[Writer, ...] = tuple(write) if isinstance(write, Sequence) else (write,)
        self.steps = 0
        self._read: list[tuple[int, Reading]] = []
        self._waiting: list[tuple[int, Measured]] = []
        self._latest = -1
        self._unfold = whatever_hides(model)
        self._inner = unwrapped(model)
        self._names = names_of(self._inner)
        self._parameters = list(self._inner.parameters())
        self._passes: list[Pass] = []
        self._before: dict[nn.Parameter, Tensor] = {}
        self._missing: tuple[str, ...] = ()
        self._hooks: list[Any] = []
        self._during = ExitStack()

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
                    f"{type(self.optimizer).__name__} is no torch.optim.Optimizer and cannot be listened to: give the "
                    "one inside, or none and call flow.step() after each update"
                )
            self._hooks.append(self.optimizer.register_step_post_hook(Ear(self.after_step)))
        self._hooks += [
            self.model.register_forward_pre_hook(Ear(self.before_forward), prepend=True),
            # also after an exception, so that nothing stays switched off
            self.model.register_forward_hook(Ear(self.after_forward, last=True), always_call=True),
        ]
        return self

    def stop(self) -> None:
        """Take every hook away; what was measured stays."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._during.close()
        self._forget()

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
                "flow.step() is for loops without an optimizer: this watch listens to the optimizer's own"
            )
        self.after_step()

    # What the hooks call; a loop of another kind may call them itself, in this order.

    def before_forward(self) -> None:
        self._during.close()
        if self._unfold is not None and self._measures() and torch.is_grad_enabled():
            self._during.enter_context(self._unfold())

    def after_forward(self, output: Any) -> None:
        """`output` is the model's, or the loss: anything that the backward pass will start from."""
        self._during.close()
        if not self._measures():
            return
        outputs = [tensor for tensor in tensors_in(output) if tensor.grad_fn is not None]
        if outputs:
            self._drop_what_came_to_nothing()
            thorough = self._is_thorough()
            self._passes.append(listen(outputs, self._names, ELEMENTS, forward=thorough))
            if thorough and not self._before:
                self._keep_weights()

    def after_step(self) -> None:
        if any(any(one.backward.values()) for one in self._passes):
            layers = self._layers() if self._is_thorough() else []
            updates = update_ratios(layers, self._before)
            self._waiting.append((self.steps, measured(self._passes, gradient_norms(layers), updates)))
            if layers:
                self._missing = self._without_gradient()
            self._latest = self.steps
            if self.writers:
                self._write(dict(_flat(self.readings[-1][1])))
            elif len(self._waiting) > WAITING:
                _ = self.readings
        self._forget()
        self.steps += 1

    @property
    def readings(self) -> list[tuple[int, Reading]]:
        """(step, reading) of every measured step; this is what waits for the device."""
        if self._waiting:
            found = fetched([one for _, one in self._waiting])
            self._read += [(step, one) for (step, _), one in zip(self._waiting, found, strict=True)]
            self._waiting = []
        return self._read

    def series(self, quantity: str) -> tuple[list[int], dict[str, list[float]]]:
        """The measured steps, and for each layer what `quantity` (a `Reading`'s, without `_L`) was at them."""
        if f"{quantity}_L" not in QUANTITIES:
            known = ", ".join(name.removesuffix("_L") for name in QUANTITIES)
            raise UnvanishError(f"no quantity is called '{quantity}'; there are {known}")
        layers = dict.fromkeys(layer for _, one in self.readings for layer in one.layers)
        values: dict[str, list[float]] = {layer: [] for layer in layers}
        for _, one in self.readings:
            here = dict(zip(one.layers, getattr(one, f"{quantity}_L").tolist(), strict=True))
            for layer, row in values.items():
                row.append(here.get(layer, float("nan")))
        return [step for step, _ in self.readings], values

    def diagnose(self) -> Diagnosis:
        """What the last measured steps tell. Without a trial only what is plain is called an illness."""
        if not self.readings:
            raise UnvanishError(
                "nothing was measured yet: no training step was seen in which the model's output led to a gradient"
            )
        recent = [one for _, one in self.readings[-RECENT:]]
        step, latest = self.readings[-1]
        broken = next(((number, one) for number, one in self.readings if _broken(one)), (step, latest))
        where = _broken(broken[1]) if _broken(latest) else None
        whole = [one for _, one in self.readings if not _broken(one)]
        examination = Examination(
            mean_reading([one for one in recent if not _broken(one)] or whole[-1:] or recent),
            unused=self._missing,
            symmetric=alike(self._inner, self._inner, self._names) if self.steps >= 3 else (),
            non_finite=where,
            when=f"first seen at step {broken[0]}",
            diverged=where is not None and bool(whole),
        )
        return diagnose(examination, title=type(self._inner).__name__)

    def _write(self, values: dict[str, float]) -> None:
        for writer in self.writers:
            try:
                writer.write(self.steps, values)
            except Exception as error:  # a server that is away must not end a training
                self.writers = tuple(one for one in self.writers if one is not writer)
                warnings.warn(
                    f"{type(writer).__name__} failed at step {self.steps} and gets no more numbers: {error}",
                    stacklevel=2,
                )

    def _measures(self) -> bool:
        return self.schedule(self.steps)

    def _is_thorough(self) -> bool:
        """At the first steps, at steps that stand alone, and else at every thirty-second."""
        alone = self._latest < self.steps - 1
        return self.steps < THIN or alone or self.steps % THIN == 0

    def _drop_what_came_to_nothing(self) -> None:
        """Passes without a backward pass; and all, if their gradients are gone without a step: a scaler skipped it."""
        self._passes = [one for one in self._passes if any(one.backward.values())][-PASSES + 1 :]
        if self._passes and all(layer.weight.grad is None for layer in self._layers()):
            self._passes = []

    def _keep_weights(self) -> None:
        self._before = {layer.weight: layer.weight.detach().clone() for layer in self._layers()}

    def _without_gradient(self) -> tuple[str, ...]:
        weights = (p for p in self._parameters if p.requires_grad and p.grad is None and p.dim() > 1)
        return tuple(dict.fromkeys(self._names[id(p)] for p in weights))

    def _layers(self) -> list[Layer]:
        return list({layer.name: layer for one in self._passes for layer in one.layers}.values())

    def _forget(self) -> None:
        self._passes, self._before = [], {}


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

    The training is the same bit for bit. `flow.diagnose()` gives a `Diagnosis`, `flow.series(quantity)` numbers.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> with watch(model, optimizer) as flow:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         model(torch.ones(16, 4)).square().mean().backward()
    ...         optimizer.step()
    >>> flow.steps, flow.series("gradient_norm")[0]
    (3, [0, 1, 2])
    """
    return Watch(model, optimizer, every=every, write=write)


def _broken(one: Reading) -> str | None:
    """The first layer whose activations are not finite; else the one nearest to the loss whose gradient is not."""
    for index in range(len(one)):
        if _is_bad(one.activation_rms_L[index]):
            return one.layers[index]
    for values_L in (one.backward_norm_L, one.gradient_norm_L):
        for index in reversed(range(len(one))):
            if _is_bad(values_L[index]):
                return one.layers[index]
    return None


def _is_bad(value: float) -> bool:
    return value in (float("inf"), float("-inf"))


def _flat(one: Reading) -> Iterator[tuple[str, float]]:
    for name in QUANTITIES:
        for layer, value in zip(one.layers, getattr(one, name).tolist(), strict=True):
            if value == value:  # NaN: there is no such number
                yield f"unvanish/{name.removesuffix('_L')}/{layer}", value
