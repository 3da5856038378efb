"""When a watch measures: a function of the step, apart from what is measured."""

from collections.abc import Callable

from unvanish.core.errors import UnvanishError

Schedule = Callable[[int], bool]

EVERY = 50  # steps
EARLY = (0, 1, 2, 5, 10, 20, 35)  # and these, because most trainings are decided by then


def default_schedule(step: int) -> bool:
    return step in EARLY or step % EVERY == 0


def schedule_of(every: int | Schedule | None) -> Schedule:
    if every is None:
        return default_schedule
    if callable(every):
        return every
    if not isinstance(every, int) or every < 1:
        raise UnvanishError(f"every must be a whole number of at least 1, or a function of the step; not {every}")
    return lambda step: step % every == 0
