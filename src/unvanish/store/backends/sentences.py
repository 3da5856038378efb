"""What the system says of a disk, turned into what the user can do."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DatabaseError

from unvanish.core.errors import StoreError


@contextmanager
def in_sentences(place: str) -> Iterator[None]:
    """Raise `StoreError` in place of what the disk or the database raises."""
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as error:
        raise StoreError(_sentence(place, str(getattr(error, "orig", error)))) from error
    except OSError as error:
        raise StoreError(_sentence(place, error.strerror or str(error), error.errno)) from error


def _sentence(place: str, reason: str, code: int | None = None) -> str:
    if code in (errno.ENOSPC, errno.EDQUOT) or "full" in reason:
        return f"no room left on the disk of {place}; make room and run the same command again: it goes on from there"
    if code in (errno.EROFS, errno.EACCES, errno.EPERM) or "readonly" in reason or "unable to open" in reason:
        return f"{place} cannot be written to or read ({reason}); name another folder with --store"
    if code in (errno.EEXIST, errno.ENOTDIR):
        return f"{place} is not a folder; name one with --store"
    if "not a database" in reason or "malformed" in reason or "no such table" in reason:
        return f"{place} is not an intact store ({reason}); name another folder with --store"
    return f"the store in {place} failed: {reason}"
