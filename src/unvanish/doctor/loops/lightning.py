"""`LightningWatch`: a callback for Lightning's `Trainer`."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from unvanish.core.errors import UnvanishError
from unvanish.core.schedule import Schedule
from unvanish.doctor.diagnosis import Diagnosis
from unvanish.doctor.watch import Watch, Writer


class LightningWatch(Callback):
    """Measures the `LightningModule` while it is fitted: `Trainer(callbacks=[LightningWatch()])`.

    every, write   as in `unvanish.watch`
    stop_if_sick   end the training at the end of the epoch in which something is plainly wrong

    It starts from the loss, so it does not matter what `training_step` calls. With several optimizers the steps of
    the first are counted. Afterwards `flow` is the `Watch` and `diagnose()` the verdict.
    """

    def __init__(
        self, *, every: int | Schedule | None = None, write: Writer | Sequence[Writer] = (), stop_if_sick: bool = False
    ) -> None:
        self.every, self.write, self.stop_if_sick = every, write, stop_if_sick
        self.flow: Watch | None = None
        self._hook: Any = None

    def diagnose(self) -> Diagnosis:
        if self.flow is None:
            raise UnvanishError("nothing was fitted yet with this callback")
        return self.flow.diagnose()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.flow = Watch(pl_module, trainer.optimizers[0], every=self.every, write=self.write)
        self._hook = trainer.optimizers[0].register_step_post_hook(lambda *_: self.flow and self.flow.after_step())

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.flow:
            self.flow.before_forward()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        if self.flow:
            self.flow.after_forward(loss)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stop_if_sick and self.flow and self.flow.readings and self.flow.diagnose().sick:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end()

    def _end(self) -> None:
        if self._hook:
            self._hook.remove()
            self._hook = None
        if self.flow:
            self.flow.stop()
