"""Whatever fails while measuring ends a measurement, never a training."""

import logging
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger("unvanish")

MOST_FAILURES = 3  # different ones: then it is not a layer that cannot be measured, but the whole model


class Guard:
    """Runs what measures. What has failed once is not tried again, and is named in `failed` by its reason."""

    def __init__(self, *, warn: bool = True) -> None:
        self.warn = warn
        self.failed: dict[tuple[str, ...], str] = {}

    @property
    def stopped(self) -> bool:
        return len(set(self.failed.values())) >= MOST_FAILURES

    def run(self, key: tuple[str, ...], function: Callable[..., T], *arguments: Any, **options: Any) -> T | None:
        """What the function gives; `None` where it fails, or where `key` has failed before."""
        if self.failed and (key in self.failed or self.stopped):
            return None
        try:
            return function(*arguments, **options)
        except Exception as error:  # of whatever a user's model is made of; it must not reach the training
            self._note(key, f"{type(error).__name__}: {error}")
            return None

    def _note(self, key: tuple[str, ...], reason: str) -> None:
        known = reason in self.failed.values()
        self.failed[key] = reason
        if not self.warn:
            return
        if self.stopped and not known:
            message = f"nothing more is measured, since {MOST_FAILURES} measurements failed; the last: {reason}"
        else:
            message = f"{' of '.join(key)} is not measured from here on: {reason}"
        if not known:
            try:
                warnings.warn(f"unvanish: {message}", stacklevel=2)
            except Warning:  # where warnings are errors, this one must not end a training either
                log.warning("%s", message)
