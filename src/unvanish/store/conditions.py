"""The environments that runs are trained under: each is kept once, and one that changes within a run is told."""

import functools
import json
import logging
from typing import Any

from sqlalchemy import Connection, select, text

from unvanish.store.tables import environments

log = logging.getLogger("unvanish")

DECIDE_THE_BITS = ("torch", "processor", "device", "cpu_capability", "blas", "step")
GOES_ON_UNDER = "goes on under"


def going_on(begun_under: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The environment of a run that goes on, with all that it went on under since; a warning says what has changed."""
    history = {key: list(values) for key, values in begun_under.get(GOES_ON_UNDER, {}).items()}
    for key in DECIDE_THE_BITS:
        if key not in begun_under or key not in now:  # of an older version; not known before a place tells it
            continue
        last = history[key][-1] if key in history else begun_under[key]
        if now.get(key) != last:
            _warn(key, last, now.get(key))
            history.setdefault(key, []).append(now.get(key))
    return begun_under | {GOES_ON_UNDER: history} if history else begun_under


def in_words(environment: dict[str, Any]) -> dict[str, Any]:
    """For people: what a run went on under in the order of time."""
    history = environment.get(GOES_ON_UNDER)
    if not history:
        return environment
    said = "; ".join(f"{key} {', then '.join(map(str, values))}" for key, values in history.items())
    return environment | {GOES_ON_UNDER: said}


@functools.cache
def _warn(key: str, before: Any, now: Any) -> None:
    """Once, not for each run of a study."""
    log.warning("a run goes on under %s %s instead of %s: its last digits differ from there on", key, now, before)


def texts_of_environments(connection: Connection) -> dict[int, str]:
    """All of them by number, each as its canonical JSON: runs share a few."""
    return {row.id: row.facts for row in connection.execute(select(environments))}


def environment_text(connection: Connection, number: int) -> str | None:
    """One of them, as its canonical JSON; `None` where it is missing, since it is damaged."""
    return connection.execute(select(environments.c.facts).where(environments.c.id == number)).scalar()


def environment_id(connection: Connection, facts: dict[str, Any]) -> int:
    canonical = json.dumps(facts, sort_keys=True)
    this = select(environments.c.id).where(environments.c.facts == canonical)
    known = connection.execute(this).scalar()
    if known is None:  # another writer may be keeping the same
        connection.execute(
            text("insert into environments (facts) values (:facts) on conflict do nothing"), {"facts": canonical}
        )
        known = connection.execute(this).scalar_one()
    return known
