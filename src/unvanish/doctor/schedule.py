"""When a watch measures."""

from unvanish.core.errors import UnvanishError
from unvanish.core.schedule import Schedule
from unvanish.core.schedule import every as every_so_many

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
    return every_so_many(every)
