"""How a place is named: a folder by its path, a database by its URL."""

import re
from typing import Any, TypeGuard

from unvanish.core.errors import StoreError

URL = re.compile(r"(\w[\w+.-]*)://")
POSTGRESQL = ("postgresql", "postgresql+psycopg", "postgres")


def is_url(where: Any) -> TypeGuard[str]:
    """Whether it is the URL of a PostgreSQL database. Raises `StoreError` where it is one of anything else."""
    found = URL.match(where) if isinstance(where, str) else None
    if found is None:
        return False
    if found[1] not in POSTGRESQL:
        raise StoreError(
            f"a store is kept in a folder or in PostgreSQL, not at {found[0]}…; "
            "name a folder, or postgresql+psycopg://user@host/database"
        )
    return True
