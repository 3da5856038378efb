"""`TransformersWatch`: a callback for the `Trainer` of transformers."""

from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback

from unvanish.core.errors import UnvanishError
from unvanish.core.schedule import Schedule
from unvanish.doctor.diagnosis import Diagnosis
from unvanish.doctor.watch import Watch, Writer


class TransformersWatch(TrainerCallback):
    """Measures the model while it is trained: `Trainer(…, callbacks=[TransformersWatch()])`.

    every, write   as in `unvanish.watch`
    stop_if_sick   end the training at the end of the epoch in which something is plainly wrong

    Afterwards `flow` is the `Watch` and `diagnose()` the verdict.
    """

    def __init__(
        self, *, every: int | Schedule | None = None, write: Writer | Sequence[Writer] = (), stop_if_sick: bool = False
    ) -> None:
        self.every, self.write, self.stop_if_sick = every, write, stop_if_sick
        self.flow: Watch | None = None

    def diagnose(self) -> Diagnosis:
        if self.flow is None:
            raise UnvanishError("nothing was trained yet with this callback")
        return self.flow.diagnose()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        optimizer = kwargs["optimizer"]
        # accelerate wraps the optimizer, and steps the one inside
        inner = getattr(optimizer, "optimizer", optimizer)
        self.flow = Watch(kwargs["model"], inner, every=self.every, write=self.write).start()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self.stop_if_sick and self.flow and self.flow.readings and self.flow.diagnose().sick:
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.flow:
            self.flow.stop()
