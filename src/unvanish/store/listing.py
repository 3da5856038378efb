"""The list of runs, which needs no curve: what is damaged in it is told, and the rest is listed."""

import logging

from sqlalchemy import Connection, Row, select

from unvanish.core.curve import Outcome
from unvanish.core.errors import DamagedError
from unvanish.core.output import printable
from unvanish.store.conditions import texts_of_environments
from unvanish.store.intact import intact, intact_list
from unvanish.store.protocol import DAMAGED, Summary
from unvanish.store.reading import outcome_of, recipe_of
from unvanish.store.tables import runs

log = logging.getLogger("unvanish")


def summaries(connection: Connection, place: str) -> list[Summary]:
    warn_of_lost_runs(connection, place)
    environments = texts_of_environments(connection)
    # one by one: of thousands that are decoded at once, Python's garbage collector would take as long as all the rest
    rows = connection.execute(select(runs).order_by(runs.c.begun))
    return [_summary(row, environments.get(row.environment)) for row in rows]


def warn_of_lost_runs(connection: Connection, place: str) -> None:
    try:
        intact_list(connection, place)
    except DamagedError as error:
        told = printable(str(error))  # of a folder with any name
        log.warning("%s; training with --restart-damaged goes on with those that are there", told)


def _summary(row: Row, environment: str | None) -> Summary:
    try:
        intact(row, environment)
        return Summary(row.digest, recipe_of(row), row.name, outcome_of(row), row.begun)
    except DamagedError as error:
        outcome = Outcome(DAMAGED, 0, 0.0, None, None, None, str(error))
        return Summary(str(row.digest), None, None, outcome, 0.0)
