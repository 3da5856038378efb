"""What the callbacks for other people's training loops have in common."""

import logging
import warnings
from collections.abc import Sequence

from unvanish.core.errors import UnvanishError
from unvanish.diagnosis.diagnosis import Diagnosis
from unvanish.diagnosis.watch import Watch, Writer
from unvanish.measure.schedule import Schedule


class WatchCallback:
    """A `Watch` that another library's loop starts and stops."""

    flow: Watch | None = None

    def __init__(
        self,
        *,
        every: int | Schedule | None = None,
        write: Writer | Sequence[Writer] | None = None,
        stop_if_failing: bool = False,
        stop_if_sick: bool | None = None,
    ) -> None:
        if stop_if_sick is not None:
            warnings.warn("stop_if_sick is called stop_if_failing now", DeprecationWarning, stacklevel=2)
            stop_if_failing = stop_if_sick
        self.every, self.write, self.stop_if_failing = every, write, stop_if_failing

    def diagnose(self) -> Diagnosis:
        if self.flow is None:
            raise UnvanishError("nothing was trained yet with this callback")
        return self.flow.diagnose()

    def has_to_stop(self) -> bool:
        """Whether something is plainly wrong, and the training has to end then."""
        if not self.stop_if_failing or self.flow is None or not self.flow.table.steps:
            return False
        found = self.flow.diagnose()
        if found.healthy is False:
            said = found.primary.message if found.primary else ""
            logging.getLogger("unvanish").warning("the training ends here. %s %s", found.last_word(), said)
        return found.healthy is False
