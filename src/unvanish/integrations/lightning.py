"""`LightningWatch`: a callback for Lightning's `Trainer`."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from unvanish.core.errors import UnvanishError
from unvanish.diagnosis.diagnosis import Diagnosis
from unvanish.diagnosis.watch import Watch, Writer
from unvanish.measure.schedule import Schedule


class LightningWatch(Callback):
    """Measures the `LightningModule` while it is fitted: `Trainer(callbacks=[LightningWatch()])`.

    every, write     as in `unvanish.watch`
    stop_if_failing  end the training at the end of the epoch in which something is plainly wrong

    It starts from the loss, so it does not matter what `training_step` calls. With several optimizers the steps of
    the first are counted. Afterwards `flow` is the `Watch` and `diagnose()` the verdict.
    """

    def __init__(
        self,
        *,
        every: int | Schedule | None = None,
        write: Writer | Sequence[Writer] = (),
        stop_if_failing: bool = False,
        stop_if_sick: bool | None = None,
    ) -> None:
        if stop_if_sick is not None:
            warnings.warn("stop_if_sick is called stop_if_failing now", DeprecationWarning, stacklevel=2)
            stop_if_failing = stop_if_sick
        self.every, self.write, self.stop_if_failing = every, write, stop_if_failing
        self.flow: Watch | None = None
        self._hooks: list[Any] = []

    def diagnose(self) -> Diagnosis:
        if self.flow is None:
            raise UnvanishError("nothing was fitted yet with this callback")
        return self.flow.diagnose()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.flow = Watch(pl_module, trainer.optimizers[0], every=self.every, write=self.write)
        first = trainer.optimizers[0]
        self._hooks = [
            first.register_step_pre_hook(lambda *_: self.flow.before_update() if self.flow else None),
            first.register_step_post_hook(lambda *_: self.flow.after_step() if self.flow else None),
        ]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.flow:
            self.flow.before_forward()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        if self.flow:
            self.flow.after_forward(loss)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stop_if_failing and self.flow and self.flow.table.steps and self.flow.diagnose().healthy is False:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end()

    def _end(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if self.flow:
            self.flow.stop()
