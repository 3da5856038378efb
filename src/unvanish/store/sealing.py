"""The checksums written: of a run that has changed, or of everything as it is."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, insert, select, update

from unvanish.store import checksums
from unvanish.store.conditions import environment_text, texts_of_environments
from unvanish.store.files import Files, checkpoint_name, checksum_of, weights_name
from unvanish.store.reading import can_be_read, rows_of
from unvanish.store.tables import events, runs, totals


def seal_run(connection: Connection, digest: str, before: str | None) -> None:
    """Write the run's checksum as it is now, and with it the total over all runs; `before`, it had that one."""
    row = connection.execute(select(runs).where(runs.c.digest == digest)).one()
    now = checksums.of_run(row._mapping, environment_text(connection, row.environment))
    connection.execute(update(runs).where(runs.c.digest == digest).values(checksum=now))
    _carry_on_total(connection, int(before is None), [now, *([before] if before else [])])


def _carry_on_total(connection: Connection, more: int, changed: Sequence[str]) -> None:
    """The total over all runs, with the checksums that came or went; without reading the others."""
    known = connection.execute(select(totals).with_for_update()).first()
    if known is None or type(known.runs) is not int or not checksums.HEX.fullmatch(str(known.checksum)):
        count(connection)  # it is damaged, as opening the store has told
        return
    sums = checksums.total([known.checksum, *changed])
    connection.execute(update(totals).values(runs=known.runs + more, checksum=sums))


def seal_all(connection: Connection, files: Files) -> None:
    """Write the checksums of everything as it is; what cannot be read gets none, and so is damaged."""
    environments = texts_of_environments(connection)
    for row in connection.execute(select(runs)).all():
        of_curve, of_series = rows_of(connection, row.digest)
        environment = environments.get(row.environment)
        if not can_be_read(row, environment, of_curve, of_series):
            continue
        sums: dict[str, str | None] = {"history": checksums.carried_on(row.digest, of_curve, of_series)}
        if row.checkpoint_epoch is not None:
            name = checkpoint_name(row.digest, row.checkpoint_stage, row.checkpoint_epoch)
            sums["checkpoint_sha256"] = checksum_of(files, name)
        if row.weights:
            sums["weights_sha256"] = checksum_of(files, weights_name(row.digest))
        sums["checksum"] = checksums.of_run({**row._mapping, **sums}, environment)
        connection.execute(update(runs).where(runs.c.digest == row.digest).values(sums))
    for row in connection.execute(select(events)).all():
        if not isinstance(row.data, dict):
            continue
        connection.execute(
            update(events).where(events.c.id == row.id).values(checksum=checksums.of_event(row._mapping))
        )
    count(connection)


def count(connection: Connection) -> None:
    """Write the totals over all runs and events, anew."""
    connection.execute(select(totals.c.runs).with_for_update())  # whoever changes a run waits here, and carries on
    known = connection.execute(select(runs.c.checksum)).scalars().all()
    happened = connection.execute(select(func.count()).select_from(events)).scalar()
    found = {"runs": len(known), "checksum": checksums.total(known), "events": happened}
    if connection.execute(update(totals).values(found)).rowcount != 1:  # there was none yet, or it was damaged
        connection.execute(delete(totals))
        connection.execute(insert(totals).values(found))
