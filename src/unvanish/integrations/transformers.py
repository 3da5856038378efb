"""`TransformersWatch`: a callback for the `Trainer` of transformers."""

from typing import Any

from transformers import TrainerCallback

from unvanish.diagnosis.watch import Watch
from unvanish.integrations.callback import WatchCallback


class TransformersWatch(WatchCallback, TrainerCallback):
    """Measures the model while it is trained: `Trainer(…, callbacks=[TransformersWatch()])`.

    every, write     as in `unvanish.watch`
    stop_if_failing  end the training at the end of the epoch in which something is plainly wrong, and say why

    Afterwards `flow` is the `Watch` and `diagnose()` the verdict.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        optimizer = kwargs["optimizer"]
        # accelerate wraps the optimizer, and steps the one inside
        inner = getattr(optimizer, "optimizer", optimizer)
        self.flow = Watch(kwargs["model"], inner, every=self.every, write=self.write or ()).start()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self.has_to_stop():
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.flow:
            self.flow.stop()
