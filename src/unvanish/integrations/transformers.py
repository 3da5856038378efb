"""`TransformersWatch`: a callback for the `Trainer` of transformers."""

import warnings
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback

from unvanish.core.errors import UnvanishError
from unvanish.diagnosis.diagnosis import Diagnosis
from unvanish.diagnosis.watch import Watch, Writer
from unvanish.measure.schedule import Schedule


class TransformersWatch(TrainerCallback):
    """Measures the model while it is trained: `Trainer(…, callbacks=[TransformersWatch()])`.

    every, write     as in `unvanish.watch`
    stop_if_failing  end the training at the end of the epoch in which something is plainly wrong

    Afterwards `flow` is the `Watch` and `diagnose()` the verdict.
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
        if self.stop_if_failing and self.flow and self.flow.table.steps and self.flow.diagnose().healthy is False:
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.flow:
            self.flow.stop()
