"""A check of a whole store: everything that it keeps is read, and compared with its checksums."""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import select

from unvanish.core.errors import StoreError
from unvanish.store.intact import intact_list
from unvanish.store.store import Store
from unvanish.store.tables import runs


def damages(store: Store) -> Iterator[str]:
    """A sentence for each thing that is damaged; none where all is as it was written."""
    yield from _told(lambda: _database(store))
    yield from _told(lambda: _list(store))
    yield from _told(store.events)
    try:
        with store.backend.reading() as session:
            digests = session.connection.execute(select(runs.c.digest).order_by(runs.c.begun)).scalars().all()
    except StoreError:  # told above
        return
    for digest in map(str, digests):
        yield from _told(lambda digest=digest: (store.record(digest), store.checkpoint(digest)))


def _database(store: Store) -> None:
    with store.backend.reading() as session:
        found = list(store.backend.faults(session.connection))
    if found:
        raise StoreError(f"the database in {store} is damaged: {'; '.join(found)}")


def _list(store: Store) -> None:
    with store.backend.reading() as session:
        intact_list(session.connection, store.backend.place)


def _told(look: Callable[[], Any]) -> Iterator[str]:
    try:
        look()
    except StoreError as error:
        yield str(error)
