"""What a run goes on under, where that is not what it was begun under: the last digits are others from there on."""

import functools
import logging
from typing import Any

log = logging.getLogger("unvanish")

DECIDE_THE_BITS = ("torch", "processor", "device", "cpu_capability", "blas", "step")
GOES_ON_UNDER = "goes on under"


def going_on(begun_under: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The environment of a run that goes on, with what has changed under "goes on under"; a warning says it."""
    changed = {key: now.get(key) for key in DECIDE_THE_BITS if begun_under.get(key, now.get(key)) != now.get(key)}
    if not changed:
        return begun_under
    for key, value in changed.items():
        _warn(key, begun_under[key], value)
    return begun_under | {GOES_ON_UNDER: ", ".join(f"{key} {value}" for key, value in changed.items())}


@functools.cache
def _warn(key: str, before: Any, now: Any) -> None:
    """Once, not for each run of a study."""
    log.warning("begun under %s %s, a run goes on under %s: its last digits differ from there on", key, before, now)
