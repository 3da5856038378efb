"""What this process has of the machine: cores, the installed version, a folder for what is fetched or compiled."""

import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import platformdirs


def usable_cores() -> int:
    """The cores that this process may run on (a container's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def own_version() -> str:
    """Of the installed package; "unknown" where it is run from its sources."""
    try:
        return version("unvanish")
    except PackageNotFoundError:
        return "unknown"


def cache_folder(what: str) -> Path:
    """`$XDG_CACHE_HOME/unvanish/what` or what is usual on this system."""
    return Path(platformdirs.user_cache_dir("unvanish")) / what
