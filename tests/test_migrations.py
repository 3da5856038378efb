"""Stores of every earlier version come to the present schema, by the same revisions in SQLite and in PostgreSQL."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, inspect, text

import unvanish as uv
from chunks import HEADER, chunk, recipe
from unvanish.store.backends.sqlite import engine_for
from unvanish.store.migrations.revisions import upgrade_from
from unvanish.store.tables import SCHEMA_VERSION, metadata
from unvanish.store.verify import damages

STORES = Path(__file__).parent / "stores"
VERSIONS = ("version1", "version2", "version3")


def schema_of(connection: Connection) -> dict[str, Any]:
    """Tables with their columns, keys and indices, in no order."""
    found = inspect(connection)
    return {
        table: {
            # version 2 called some JSON, which SQLite keeps as the text that it is
            "columns": {
                c["name"]: (str(c["type"]).replace("JSON", "VARCHAR"), c["nullable"]) for c in found.get_columns(table)
            },
            "key": found.get_pk_constraint(table)["constrained_columns"],
            "refers to": sorted(key["referred_table"] for key in found.get_foreign_keys(table)),
            "unique": sorted(map(str, (one["column_names"] for one in found.get_unique_constraints(table)))),
            "indices": sorted(str(one["name"]) for one in found.get_indexes(table)),
        }
        for table in found.get_table_names()
    }


def made_at_once(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        metadata.create_all(connection)
        return schema_of(connection)


@pytest.fixture(params=["SQLite", pytest.param("PostgreSQL", marks=pytest.mark.slow)])
def engine(request):
    if request.param == "SQLite":
        made = engine_for(None, readonly=False)
    else:
        from unvanish.store.backends.postgres import engine_of

        made = engine_of(request.getfixturevalue("database"))
    yield made
    made.dispose()


def test_the_revisions_lead_to_the_tables_of_this_version(engine):
    with engine.connect() as connection:
        upgrade_from(connection, None)
        by_revisions = schema_of(connection)
        connection.rollback()
        for name in inspect(connection).get_table_names():  # SQLite has committed them
            connection.execute(text(f'drop table "{name}"'))
        connection.commit()
    assert by_revisions == made_at_once(engine)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_store_comes_to_the_tables_of_this_version(version, tmp_path):
    shutil.copytree(STORES / version, tmp_path / "store")
    new = engine_for(None, readonly=False)
    with uv.Store.writer(tmp_path / "store") as store, store.backend.reading() as session:
        assert session.connection.execute(text("select version from schema")).scalar() == SCHEMA_VERSION
        assert schema_of(session.connection) == made_at_once(new)
    new.dispose()
    assert list(damages(uv.Store.reader(tmp_path / "store"))) == []


def test_a_store_of_version_3_is_read_and_goes_on_as_it_was(tmp_path):
    reader = uv.Store.reader(STORES / "version3")
    finished, unfinished, failed, own = reader.summaries()
    assert [s.outcome.state for s in (finished, unfinished, failed, own)] == [
        "finished", "unfinished", "failed", "finished",
    ]  # fmt: skip
    assert (finished.outcome.epochs, finished.outcome.last_val_acc, own.name) == (2, 0.1, "of my own")
    assert failed.outcome.error == "its worker died"
    assert [(e.kind, e.digest) for e in reader.events()] == [("epoch", unfinished.digest), ("ended", failed.digest)]
    assert reader.record(own.digest).weights is not None
    shutil.copytree(STORES / "version3", tmp_path / "store")
    record = uv.run(unfinished.recipe, store=tmp_path / "store")
    assert [row.epoch for row in record.epochs] == [1, 2, 3]


def test_alembic_is_imported_only_where_a_schema_is_old(tmp_path):
    code = "import sys, unvanish as uv; uv.Store.{} (sys.argv[1]){}; print('alembic' in sys.modules)"
    shutil.copytree(STORES / "version3", tmp_path / "old")
    for place, method, rest, imported in (
        (tmp_path / "new", "writer", ".__enter__()", False),
        (tmp_path / "new", "reader", ".summaries()", False),
        (tmp_path / "old", "reader", ".summaries()", True),
    ):
        words = [sys.executable, "-c", code.format(method, rest), str(place)]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == f"{imported}\n"


@pytest.mark.slow
def test_a_database_of_version_3_goes_on(database):
    """No released version made one: its tables are those of the first revision."""
    from unvanish.store.backends.postgres import engine_of

    made = engine_of(database)
    with made.begin() as connection:
        upgrade_from(connection, None, to="3")
        connection.execute(text("insert into schema values (3)"))
        connection.execute(text(f"insert into total values (0, '{'0' * 64}', 0)"))
    made.dispose()
    with pytest.raises(uv.StoreError, match="the next training upgrades it"):
        uv.Store.reader(database)
    with uv.Store.writer(database) as store:
        store.begin(recipe(), HEADER)
        store.add(recipe().digest(), chunk(1, 3, "finished"))
        with store.backend.reading() as session:
            assert {"claim", "blob"} <= schema_of(session.connection).keys()
    reader = uv.Store.reader(database)
    assert len(reader.summaries()) == 1
    assert list(damages(reader)) == []
