"""Who writes to a store: one process, which holds a lock and leaves its number, for others to be told."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

from unvanish.core.errors import StoreError

LOCK, OWNER = "lock", "owner"


def locked(folder: Path) -> FileLock:
    """The lock of the store's only writer, held. Raises `StoreError` where another process holds it."""
    lock, owner = FileLock(folder / LOCK), folder / OWNER
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        process = f"process {owner.read_text().strip()}" if owner.exists() else "which has only begun"
        raise StoreError(
            f"another unvanish ({process}) is writing to {folder}; wait for it to end, "
            "or name another folder with --store"
        ) from error
    return lock


def sign(folder: Path) -> None:
    """Say whose lock it is."""
    (folder / OWNER).write_text(f"{os.getpid()}\n")
