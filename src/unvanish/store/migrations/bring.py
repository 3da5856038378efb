"""What opening a store does to its schema: makes it, brings it up to date, or leaves it as it is."""

from sqlalchemy import Connection, insert, inspect, select, update

from unvanish.core.errors import StoreError
from unvanish.store.backends.protocol import Session
from unvanish.store.sealing import count
from unvanish.store.tables import SCHEMA_VERSION, metadata, schema

BY_REVISIONS = 3  # the version from which alembic's revisions lead on


def version_of(connection: Connection, place: str, *, beside_others: bool = False) -> int | None:
    """The schema's version; `None` where there is no store yet. Raises `StoreError` where it is none of ours.

    beside_others   tables of other programs may be there; then ours are made at once or not at all
    """
    tables = set(inspect(connection).get_table_names())
    if beside_others:
        tables &= set(metadata.tables)
    if not tables:
        return None
    found = connection.execute(select(schema.c.version)).scalar() if "schema" in tables else None
    if found is None and tables <= set(metadata.tables) and not beside_others:  # killed before its first row
        return None
    if not isinstance(found, int):
        raise StoreError(f"{place} is not a store of unvanish, and is left as it is; name another place")
    if found > SCHEMA_VERSION:
        raise StoreError(
            f"{place} has schema version {found}, this unvanish has {SCHEMA_VERSION}; name another place with --store"
        )
    return found


def bring_up_to_date(session: Session, version: int | None) -> None:
    """From `version` to the present one, in the transaction of the caller, who keeps others from doing the same."""
    connection = session.connection
    if version is None:
        metadata.create_all(connection)
        connection.execute(insert(schema).values(version=SCHEMA_VERSION))
        count(connection)
        return
    if version == SCHEMA_VERSION:
        return
    if version < BY_REVISIONS:
        from unvanish.store.migrations.by_hand import upgrade

        upgrade(session, version)
    from unvanish.store.migrations.revisions import upgrade_from  # alembic, which takes its time to import

    upgrade_from(connection, max(version, BY_REVISIONS))
    connection.execute(update(schema).values(version=SCHEMA_VERSION))
