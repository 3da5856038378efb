"""Claims of several writers to one database: a row for each run that is trained, which holds for as long as a lease.

A writer renews its leases while it lives. When it dies they run out, by the server's clock, and another goes on.
"""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, delete, func, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from unvanish.core.errors import ClaimLostError
from unvanish.store.tables import claims

LEASE_S = 60.0
RENEWALS = 3  # in the time of a lease: two may fail

log = logging.getLogger("unvanish")

NOW = func.extract("epoch", func.clock_timestamp())  # of the server, since clocks differ
NEW = text(
    "insert into claim (digest, owner, until) "
    "values (:digest, :owner, extract(epoch from clock_timestamp()) + :lease) on conflict do nothing"
)


class Leases:
    """The `Claims` of one writer."""

    def __init__(self, engine: Engine, lease_s: float) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._engine, self._lease_s = engine, lease_s

    def take(self, connection: Connection, digest: str) -> str | None:
        this, ours = claims.c.digest == digest, {"owner": self.owner, "until": NOW + self._lease_s}
        if connection.execute(update(claims).where(this, claims.c.owner == self.owner).values(ours)).rowcount:
            return None
        run_out = select(claims.c.digest).where(this, claims.c.until < NOW).with_for_update(skip_locked=True)
        if connection.execute(run_out).first():  # and no other writer is taking it at this moment
            connection.execute(update(claims).where(this).values(ours))
            return None
        if connection.execute(NEW, {"digest": digest, "owner": self.owner, "lease": self._lease_s}).rowcount:
            return None
        return self._owner(connection, digest) or "another process"

    def _owner(self, connection: Connection, digest: str) -> str | None:
        return connection.execute(select(claims.c.owner).where(claims.c.digest == digest)).scalar()

    def hold(self, connection: Connection, digest: str) -> None:
        own = (claims.c.digest == digest) & (claims.c.owner == self.owner)
        if not connection.execute(update(claims).where(own).values(until=NOW + self._lease_s)).rowcount:
            other = self._owner(connection, digest) or "another process, which has ended it,"
            raise ClaimLostError(
                f"run {digest[:12]} was taken over by {other} since this process was not heard of for "
                f"{self._lease_s:g} s; what it has trained since its last checkpoint is left out"
            )

    def release(self, connection: Connection, digest: str) -> None:
        connection.execute(delete(claims).where(claims.c.digest == digest, claims.c.owner == self.owner))

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """In the background, until the block ends; then all are given up."""
        done = threading.Event()
        thread = threading.Thread(target=self._renew_until, args=(done,), name="unvanish leases", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            with suppress(SQLAlchemyError), self._engine.begin() as connection:  # else they run out by themselves
                connection.execute(delete(claims).where(claims.c.owner == self.owner))

    def _renew_until(self, done: threading.Event) -> None:
        while not done.wait(self._lease_s / RENEWALS):
            try:
                with self._engine.begin() as connection:
                    own = update(claims).where(claims.c.owner == self.owner)
                    connection.execute(own.values(until=NOW + self._lease_s))
            except SQLAlchemyError as error:  # the next one may succeed; a lease that was lost is told by `hold`
                log.debug("the leases of %s were not renewed: %s", self.owner, error)
