"""What this process has of the machine."""

import os


def usable_cores() -> int:
    """The cores that this process may run on (a container's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
