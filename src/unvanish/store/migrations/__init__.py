"""From an earlier schema to the present one: by hand to version 3, by alembic's revisions from there."""
