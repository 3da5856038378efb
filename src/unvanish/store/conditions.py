"""The environments that runs are trained under: each is kept once, and one that changes within a run is told."""

import functools
import json
import logging
from typing import Any

from sqlalchemy import Connection, insert, select

from unvanish.store.tables import environments

log = logging.getLogger("unvanish")

DECIDE_THE_BITS = ("torch", "processor", "device", "cpu_capability", "blas", "step")
GOES_ON_UNDER = "goes on under"


def going_on(begun_under: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The environment of a run that goes on, with what has changed under "goes on under"; a warning says it."""
    changed = {key: now.get(key) for key in DECIDE_THE_BITS if begun_under.get(key, now.get(key)) != now.get(key)}
    if not changed:
        return begun_under
    for key, value in changed.items():
        _warn(key, begun_under[key], value)
    return begun_under | {GOES_ON_UNDER: ", ".join(f"{key} {value}" for key, value in changed.items())}


@functools.cache
def _warn(key: str, before: Any, now: Any) -> None:
    """Once, not for each run of a study."""
    log.warning("begun under %s %s, a run goes on under %s: its last digits differ from there on", key, before, now)


def facts_of(connection: Connection, environment: int) -> dict[str, Any]:
    facts = select(environments.c.facts).where(environments.c.id == environment)
    return json.loads(connection.execute(facts).scalar_one())


def environment_id(connection: Connection, facts: dict[str, Any]) -> int:
    canonical = json.dumps(facts, sort_keys=True)
    known = connection.execute(select(environments.c.id).where(environments.c.facts == canonical)).scalar()
    if known is not None:
        return known
    return connection.execute(insert(environments).values(facts=canonical)).inserted_primary_key[0]  # type: ignore[index]
