"""Rows that several parts of the store ask for."""

from typing import Any

from sqlalchemy import Connection, Row, select

from unvanish.store.files import checkpoint_name, weights_name
from unvanish.store.tables import runs


def run_row(connection: Connection, digest: str, *, locked: bool = False) -> Row | None:
    """`locked` keeps others from changing it until the transaction ends; SQLite has one writer anyway."""
    this = select(runs).where(runs.c.digest == digest)
    return connection.execute(this.with_for_update() if locked else this).first()


def checkpoint_of(row: Any) -> str:
    """The name follows from the run; none that is written anywhere is believed."""
    return checkpoint_name(row.digest, row.checkpoint_stage, row.checkpoint_epoch)


def files_of(row: Any) -> set[str]:
    """The names of the files that a run has."""
    names = {checkpoint_of(row)} if row.checkpoint_epoch is not None else set()
    return names | {weights_name(row.digest)} if row.weights else names
