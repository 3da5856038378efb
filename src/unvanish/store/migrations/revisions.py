"""Alembic's revisions, which change SQLite and PostgreSQL alike. A revision is called as the version that it leads to.

The version stands in the table `schema`, where the versions of unvanish that know no alembic look for it; so alembic
keeps no table of its own.
"""

from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


def upgrade_from(connection: Connection, version: int | None, to: str = "head") -> None:
    """Run the revisions after that version, from the first one on for `None`; in the caller's transaction."""
    script = ScriptDirectory(str(Path(__file__).parent))
    after = list(script.iterate_revisions(to, "base" if version is None else str(version)))
    with Operations.context(MigrationContext.configure(connection)):
        for revision in reversed(after):
            revision.module.upgrade()
