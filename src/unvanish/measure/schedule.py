"""When to measure, apart from what: a schedule is a function of the step."""

from collections.abc import Callable

from unvanish.core.arguments import at_least_one

Schedule = Callable[[int], bool]

EVERY = 50  # steps
EARLY = (0, 1, 2, 5, 10, 20, 35)  # and these, because most trainings are decided by then


def every(steps: int) -> Schedule:
    """True on step 0 and then on every so many."""
    at_least_one("the distance between measured steps", steps)
    return lambda step: step % steps == 0


def early_and_then_rarely(step: int) -> bool:
    return step in EARLY or step % EVERY == 0


def schedule_of(given: int | Schedule | None) -> Schedule:
    """What `every=` stands for: a number of steps, a function of the step, or the default."""
    if given is None:
        return early_and_then_rarely
    if callable(given):
        return given
    return every(at_least_one("every (or else a function of the step)", given))
