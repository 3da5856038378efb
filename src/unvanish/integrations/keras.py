"""`KerasWatch`: a callback for `keras.Model.fit`, with Keras 3 on its torch backend."""

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")  # no other has modules that can be watched; read when keras is imported

import keras

from unvanish.core.errors import UnvanishError
from unvanish.diagnosis.watch import Watch
from unvanish.integrations.callback import WatchCallback


class KerasWatch(WatchCallback, keras.callbacks.Callback):
    """Measures the model while it is fitted: `model.fit(x, y, callbacks=[KerasWatch()])`.

    every, write     as in `unvanish.watch`
    stop_if_failing  end the training at the end of the epoch in which something is plainly wrong, and say why

    Layers have Keras's own names. Afterwards `flow` is the `Watch` and `diagnose()` the verdict. Raises `UnvanishError`
    where Keras was imported on another backend: set KERAS_BACKEND=torch before that.
    """

    def __init__(self, **options: Any) -> None:
        keras.callbacks.Callback.__init__(self)
        WatchCallback.__init__(self, **options)

    def on_train_begin(self, logs: Any = None) -> None:
        if keras.backend.backend() != "torch":
            raise UnvanishError(
                f"Keras runs on {keras.backend.backend()}: set KERAS_BACKEND=torch before keras is imported"
            )
        assert self.model is not None
        self.flow = Watch(self.model, every=self.every, write=self.write or ()).start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.flow:
            self.flow.step()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.has_to_stop() and self.model is not None:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        if self.flow:
            self.flow.stop()
