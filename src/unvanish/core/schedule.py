"""When to measure, apart from what: a schedule is a function of the step."""

from collections.abc import Callable

Schedule = Callable[[int], bool]


def every(steps: int) -> Schedule:
    """True on step 0 and then on every so many."""
    return lambda step: step % steps == 0
