"""The schema of version 3, the first that is made by a revision. Stores in SQLite came to it by hand."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "3", None


def upgrade() -> None:
    op.create_table("schema", sa.Column("version", sa.Integer, primary_key=True))
    op.create_table(
        "environments",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("facts", sa.String, nullable=False),
        sa.UniqueConstraint("facts").ddl_if(dialect="sqlite"),
    )
    if op.get_bind().dialect.name == "postgresql":  # whose indices take no long texts
        op.create_index("environments_facts", "environments", [sa.text("md5(facts)")], unique=True)
    op.create_table(
        "run",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("name", sa.String),
        sa.Column("recipe", sa.String),
        sa.Column("environment", sa.Integer, sa.ForeignKey("environments.id"), nullable=False),
        sa.Column("layers", sa.String, nullable=False),
        sa.Column("units", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("error", sa.String),
        sa.Column("checkpoint_stage", sa.Integer),
        sa.Column("checkpoint_epoch", sa.Integer),
        sa.Column("weights", sa.Boolean, nullable=False),
        sa.Column("begun", sa.Float, nullable=False),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        *(sa.Column(name, sa.Float) for name in ("last_val_acc", "best_val_acc", "seconds_to_70")),
        *(sa.Column(name, sa.String) for name in ("history", "checkpoint_sha256", "weights_sha256", "checksum")),
    )
    op.create_table(
        "curve",
        *_step_of_a_run(),
        *(sa.Column(name, sa.Float) for name in ("train_loss", "train_acc", "val_loss", "val_acc", "seconds")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "series",
        *_step_of_a_run(),
        sa.Column("quantity", sa.String, primary_key=True),
        sa.Column("values", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("data", sa.String, nullable=False),
        sa.Column("checksum", sa.String),
    )
    op.create_table(
        "total",
        sa.Column("runs", sa.Integer, nullable=False),
        sa.Column("checksum", sa.String, nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
    )


def _step_of_a_run() -> tuple[sa.Column, ...]:
    return (
        sa.Column("digest", sa.String, sa.ForeignKey("run.digest", ondelete="CASCADE"), primary_key=True),
        sa.Column("stage", sa.Integer, primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True),
    )
