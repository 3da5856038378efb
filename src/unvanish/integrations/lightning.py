"""`LightningWatch`: a callback for Lightning's `Trainer`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from unvanish.diagnosis.watch import Watch
from unvanish.integrations.callback import WatchCallback


class TrainerWriter:
    """To the loggers that the Trainer has."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for logger in self.trainer.loggers:
            logger.log_metrics(dict(values), step=self.trainer.global_step)


class LightningWatch(WatchCallback, Callback):
    """Measures the `LightningModule` while it is fitted: `Trainer(callbacks=[LightningWatch()])`.

    every            as in `unvanish.watch`
    write            as there; by default the numbers go to the Trainer's own loggers, with `[]` nowhere
    stop_if_failing  end the training at the end of the epoch in which something is plainly wrong, and say why

    It starts from the loss, so it does not matter what `training_step` calls. With several optimizers the steps of
    the first are counted. Afterwards `flow` is the `Watch` and `diagnose()` the verdict.
    """

    _hooks: Sequence[Any] = ()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        write = (TrainerWriter(trainer),) if self.write is None else self.write
        self.flow = Watch(pl_module, trainer.optimizers[0], every=self.every, write=write)
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
        if self.has_to_stop():
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end()

    def _end(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = ()
        if self.flow:
            self.flow.stop()
