"""What a writer does to a store, each in one transaction."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from unvanish.core.errors import StoreError
from unvanish.core.output import printable
from unvanish.store import checksums
from unvanish.store.backends.protocol import Claims, Session
from unvanish.store.chunk import Chunk, rows_of_table
from unvanish.store.conditions import environment_id, environment_text, going_on, texts_of_environments
from unvanish.store.events import Event
from unvanish.store.files import checkpoint_name, read_intact, weights_name
from unvanish.store.intact import intact, intact_history, is_intact, naming_the_run
from unvanish.store.protocol import ENDED, Header, Start
from unvanish.store.reading import curve_rows, epochs_of, is_its_digest, rows_of, summary_of
from unvanish.store.rows import checkpoint_of, run_row
from unvanish.store.sealing import count, seal_run
from unvanish.store.tables import curve, events, runs, series, totals


class Writing:
    """The transaction of a writer."""

    def __init__(self, session: Session, claims: Claims, place: str) -> None:
        self.connection, self.files, self.claims, self.place = session.connection, session.files, claims, place

    def begin(self, digest: str, header: Header, *, fresh: bool, claim: bool, **what: Any) -> Start:
        row = run_row(self.connection, digest)
        if fresh or row is None or row.state not in ENDED:
            owner = self.claims.take(self.connection, digest)
            if owner is not None:
                return Start(False, header.environment, epochs=0 if row is None else row.epochs, elsewhere=owner)
            row = run_row(self.connection, digest)  # as it is, now that nobody else changes it
        start = None if row is None or fresh else self._standing(row, header)
        if start is None:
            start = self._from_the_beginning(digest, row, header, **what)
        if start.ended or not claim:
            self.claims.release(self.connection, digest)
        return start

    def _standing(self, row: Row, header: Header) -> Start | None:
        """Where a run that is there goes on; `None` if it has come nowhere yet."""
        with naming_the_run(row.digest, self.place):
            begun_under = json.loads(intact(row, environment_text(self.connection, row.environment)))
            intact_history(row, *rows_of(self.connection, row.digest))
            if row.state in ENDED:
                if list(row.layers) != list(header.layers):
                    raise StoreError(
                        f"{self.place} keeps a run {row.name!r} of a network of other layers "
                        f"({', '.join(row.layers)}): give another name, or fresh=True to train it anew"
                    )
                return Start(ended=True, environment=begun_under)
            if row.checkpoint_epoch is None:
                return None
            checkpoint = read_intact(self.files, checkpoint_of(row), row.checkpoint_sha256)
        facts = going_on(begun_under, header.environment)
        if facts != begun_under:
            changed = {"environment": environment_id(self.connection, facts)}
            self.connection.execute(update(runs).where(runs.c.digest == row.digest).values(changed))
            seal_run(self.connection, row.digest, row.checksum)
        return Start(False, facts, checkpoint, epochs=row.epochs)

    def _from_the_beginning(self, digest: str, row: Row | None, header: Header, **what: Any) -> Start:
        """What there is of the run is forgotten."""
        before = None
        if row is not None and is_intact(row, environment_text(self.connection, row.environment)):
            before = row.checksum
        for table in (curve, series, runs):  # of a run whose row is lost the others may be there
            self.connection.execute(delete(table).where(table.c.digest == digest))
        for name in self.files.of_run(digest) if row is not None else ():
            self.files.remove(name)
        self.connection.execute(
            insert(runs).values(
                digest=digest,
                environment=environment_id(self.connection, header.environment),
                layers=list(header.layers),
                units={},
                state="unfinished",
                begun=time.time(),
                history=digest,
                **what,
            )
        )
        seal_run(self.connection, digest, before)
        if row is not None and before is None:
            count(self.connection)  # of all anew: the checksum that has gone is not known
        return Start(ended=False, environment=header.environment)

    def add(self, digest: str, chunk: Chunk) -> None:
        self.claims.hold(self.connection, digest)
        error = None if chunk.error is None else printable(chunk.error)  # PostgreSQL takes no NULL character
        changed: dict[str, Any] = {"state": chunk.state, "error": error}
        before = run_row(self.connection, digest, locked=True)
        assert before is not None, f"run {digest[:12]} was never begun"
        with naming_the_run(digest, self.place):
            intact(before, environment_text(self.connection, before.environment))
        rows = [{"digest": digest, **asdict(row)} for row in chunk.rows]
        measured = [{"digest": digest, **row} for row in rows_of_table(chunk.measured, before.layers)]
        if rows:
            self.connection.execute(insert(curve), rows)
            changed |= summary_of(epochs_of(curve_rows(self.connection, digest)), chunk.state)
        if measured:
            self.connection.execute(insert(series), measured)
            changed["units"] = dict(chunk.measured.units)
        changed["history"] = checksums.carried_on(before.history, rows, measured)
        if chunk.state != "failed":  # a failed run keeps its checkpoint, to go on from
            changed |= self._files_changed(digest, chunk, before)
        self.connection.execute(update(runs).where(runs.c.digest == digest).values(**changed))
        seal_run(self.connection, digest, before.checksum)
        if chunk.state != "unfinished":
            self.claims.release(self.connection, digest)

    def _files_changed(self, digest: str, chunk: Chunk, before: Row) -> dict[str, Any]:
        """Keep the chunk's files in place of those that the run had; the columns that name them."""
        last = chunk.rows[-1] if chunk.checkpoint is not None else None
        kept = None if last is None else checkpoint_name(digest, last.stage, last.epoch)
        if kept is not None and chunk.checkpoint is not None:
            self.files.write(kept, chunk.checkpoint)
        if chunk.weights is not None:
            self.files.write(weights_name(digest), chunk.weights)
        if before.checkpoint_epoch is not None and checkpoint_of(before) != kept:
            self.files.remove(checkpoint_of(before))
        return {
            "checkpoint_stage": last and last.stage,
            "checkpoint_epoch": last and last.epoch,
            "checkpoint_sha256": chunk.checkpoint and checksums.of_bytes(chunk.checkpoint),
            "weights": chunk.weights is not None,
            "weights_sha256": chunk.weights and checksums.of_bytes(chunk.weights),
        }

    def forget_lost_runs(self, *, and_events: bool) -> None:
        if and_events:
            self.connection.execute(delete(events))
        environments = texts_of_environments(self.connection)
        for row in self.connection.execute(select(runs)).all():
            intact = is_intact(row, environments.get(row.environment))
            if not intact and not is_its_digest(row):  # nobody can ask for it
                self.connection.execute(delete(runs).where(runs.c.digest == row.digest))
        count(self.connection)

    def note(self, happened: Sequence[Event]) -> None:
        rows = [{"at": time.time(), "kind": e.kind, "digest": e.digest, "data": dict(e.data)} for e in happened]
        if not rows:
            return
        self.connection.execute(select(totals.c.events).with_for_update())  # one writer after another gives numbers
        last = self.connection.execute(select(func.max(events.c.id))).scalar() or 0
        numbered = [
            row | {"id": number, "checksum": checksums.of_event(row)} for number, row in enumerate(rows, last + 1)
        ]
        self.connection.execute(insert(events), numbered)
        self.connection.execute(update(totals).values(events=totals.c.events + len(rows)))
