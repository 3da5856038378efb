"""Weights & Biases."""

from collections.abc import Mapping
from typing import Any

import wandb

from unvanish.core.errors import UnvanishError


class WandbWriter:
    """Metrics of the run that is given, or of the active one.

    They get an axis of their own, `unvanish/step`, because W&B's steps must not go back.
    """

    def __init__(self, run: Any = None) -> None:
        self.run: Any = run or wandb.run
        if self.run is None:
            raise UnvanishError("no W&B run is active: call wandb.init() first, or give one")
        self.run.define_metric("unvanish/*", step_metric="unvanish/step")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({**values, "unvanish/step": step})
