"""Whether what is read is what was written; `DamagedError` where it is not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Row, select

from unvanish.core.errors import DamagedError
from unvanish.core.output import printable
from unvanish.core.values import counted
from unvanish.store import checksums
from unvanish.store.reading import Rows
from unvanish.store.tables import runs, totals


@contextmanager
def naming_the_run(digest: str, place: str) -> Iterator[None]:
    """Say of which run something is damaged, and how to go on."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(
            f"run {printable(digest[:12])} in {place} is damaged: {error}. Other runs are not affected. To train it "
            "anew: reproduce, train or study run with --restart-damaged, or in Python run(…, fresh=True)"
        ) from error


def intact(row: Row, environment: str | None) -> str:
    """The run's environment, as its canonical JSON, if that and the row are what was written."""
    if environment is None or not checksums.agree(checksums.of_run, row._mapping, environment, kept=row.checksum):
        raise DamagedError("its row, with its recipe and outcome, is not what was written")
    return environment


def is_intact(row: Row, environment: str | None) -> bool:
    try:
        intact(row, environment)
    except DamagedError:
        return False
    return True


def intact_history(row: Row, of_curve: Rows, of_series: Rows) -> None:
    if not checksums.agree(checksums.carried_on, row.digest, of_curve, of_series, kept=row.history):
        raise DamagedError("its epochs or measurements are not those that were written")


def intact_events(rows: Sequence[Row], after: int, kept: int | None, place: str) -> None:
    """All that were written after a number, of at least `kept` in all: they are numbered without gaps."""
    for number, row in enumerate(rows, start=after + 1):
        if row.id != number or not checksums.agree(checksums.of_event, row._mapping, kept=row.checksum):
            raise DamagedError(f"event {number} in {place} is damaged or missing")
    if not isinstance(kept, int) or after + len(rows) < kept:
        written = kept if isinstance(kept, int) else "an unknown number"
        raise DamagedError(f"events after number {after + len(rows)} in {place} are missing: {written} were written")


def intact_list(connection: Connection, place: str) -> None:
    """Of all runs, by the total over them."""
    kept = connection.execute(select(totals)).first()
    read = connection.execute(select(runs.c.checksum)).scalars().all()
    if kept is None or kept.runs != len(read) or not checksums.agree(checksums.total, read, kept=kept.checksum):
        written = kept.runs if kept is not None and isinstance(kept.runs, int) else "an unknown number"
        raise DamagedError(
            f"the list of runs in {place} is damaged, its checksum does not match: {counted(len(read), 'run')} found, "
            f"{written} expected"
        )
