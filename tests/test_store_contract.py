"""What a store promises, wherever it is kept: in a folder, in memory, in a database of PostgreSQL."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest

import unvanish as uv
from chunks import HEADER, LAYERS, checkpoint, chunk, recipe
from unvanish.store.backends import row_files
from unvanish.store.chunk import Chunk
from unvanish.store.protocol import Header
from unvanish.store.verify import damages

Opened = Callable[[], AbstractContextManager[uv.Store]]


@pytest.fixture(params=["a folder", "memory", pytest.param("PostgreSQL", marks=pytest.mark.slow)])
def opened(request, tmp_path) -> Opened:
    if request.param == "memory":
        return uv.Store.in_memory
    where = tmp_path if request.param == "a folder" else request.getfixturevalue("database")
    return lambda: uv.Store.writer(where)


def test_what_goes_in_comes_out(opened, monkeypatch):
    monkeypatch.setattr(row_files, "PART", 50)  # so that a file takes several rows
    one, digest = recipe(), recipe().digest()
    with opened() as store:
        start = store.begin(one, HEADER)
        assert (start.ended, start.checkpoint, start.epochs, start.elsewhere) == (False, None, 0, None)
        store.add(digest, chunk(1, 2))
        start = store.begin(one, HEADER)
        assert (start.ended, start.checkpoint, start.epochs) == (False, checkpoint(2), 2)
        assert store.checkpoint(digest) == checkpoint(2)
        store.add(digest, chunk(3, 3, "finished"))
        assert store.begin(one, HEADER).ended
        assert store.checkpoint(digest) is None
        record = store.record(digest)
        assert record.recipe == one
        assert [row.epoch for row in record.epochs] == [1, 2, 3]
        assert [row.train_loss for row in record.epochs] == [1, 1 / 2, 1 / 3]
        assert [math.isnan(row.val_loss) for row in record.epochs] == [False, True, False]
        assert record.series["backward_rms"].values.tolist() == [[e / 7, 1e-300] for e in (1, 2, 3)]
        assert np.isnan(record.series["dead"].values[:, 0]).all()
        assert record.weights["w"].tolist() == [3.0] * 3
        assert record.environment == HEADER.environment
        with store.backend.reading() as session:  # what SQL calls NaN differs between databases
            nulls = session.connection.exec_driver_sql("select count(*) from curve where val_loss is null")
            assert nulls.scalar() == 1
        (summary,) = store.summaries()
        assert (summary.digest, summary.recipe, summary.outcome) == (digest, one, record.outcome)
        assert list(damages(store)) == []


def test_fresh_forgets_what_there_was(opened):
    one, digest = recipe(), recipe().digest()
    with opened() as store:
        store.begin(one, HEADER)
        store.add(digest, chunk(1, 3, "finished"))
        start = store.begin(one, HEADER, fresh=True)
        assert (start.ended, start.checkpoint, start.epochs) == (False, None, 0)
        assert store.record(digest).epochs == ()
        store.add(digest, chunk(1, 1))
        assert len(store.record(digest).epochs) == 1
        assert list(damages(store)) == []


def test_looking_at_a_run_does_not_begin_it(opened):
    with opened() as store:
        for _ in range(2):
            assert not store.begin(recipe(), HEADER, claim=False).ended
        assert [summary.outcome.state for summary in store.summaries()] == ["unfinished"]
        assert list(damages(store)) == []


def test_a_setup_of_ones_own_is_kept_by_its_name(opened):
    with opened() as store:
        digest, start = store.begin_named("mine é", HEADER)
        assert not start.ended
        store.add(digest, chunk(1, 1, "finished"))
        assert store.begin_named("mine é", HEADER)[1].ended
        assert store.record(digest).name == "mine é"
        with pytest.raises(uv.StoreError, match="of other layers"):
            store.begin_named("mine é", Header(HEADER.environment, ("a", "b")))


def test_no_epoch_is_kept_twice(opened):
    digest = recipe().digest()
    with opened() as store:
        store.begin(recipe(), HEADER)
        store.add(digest, chunk(1, 2))
        with pytest.raises(uv.StoreError):
            store.add(digest, chunk(2, 3))
        assert [row.epoch for row in store.record(digest).epochs] == [1, 2]
        assert store.checkpoint(digest) == checkpoint(2)
        assert list(damages(store)) == []


def test_an_error_of_any_characters_is_kept(opened):
    digest = recipe().digest()
    with opened() as store:
        store.begin(recipe(), HEADER)
        store.add(digest, chunk(1, 1))
        store.add(digest, Chunk("failed", error="it said \x00\x1b[2J and \udc80\nand ended"))
        outcome = store.record(digest).outcome
        assert (outcome.state, outcome.error) == ("failed", "it said \\x00\\x1b[2J and \\udc80\nand ended")
        assert store.begin(recipe(), HEADER).checkpoint == checkpoint(1)  # to go on from
        store.note([uv.Event("ended", digest, {"error": "\x00\udc80"})])
        assert store.events()[0].data == {"error": "\x00\udc80"}
        assert list(damages(store)) == []


def test_events_are_numbered_without_gaps(opened):
    with opened() as store:
        store.note([])
        for count in (1, 3, 2):
            store.note([uv.Event("began", "d", {"epochs": one}) for one in range(count)])
        assert [event.id for event in store.events()] == [1, 2, 3, 4, 5, 6]
        assert [event.id for event in store.events(after=4)] == [5, 6]


def test_environments_are_shared_and_may_be_long(opened):
    long = Header({"torch": "2", "measure_every": 1, "blas": [f"{n * 7919:x}" for n in range(600)]}, LAYERS)
    with opened() as store:
        for seed in range(3):
            store.begin(recipe(seed), long)
        assert store.record(recipe(2).digest()).environment == long.environment
        with store.backend.reading() as session:
            assert session.connection.exec_driver_sql("select count(*) from environments").scalar() == 1


def test_runs_that_differ_in_their_numbers_are_listed_as_they_are(opened):
    """Their recipes are validated together."""
    several = [recipe(seed, epochs) for seed in (0, 2**63 - 1) for epochs in (1, 10**9)]
    with opened() as store:
        for one in several:
            store.begin(one, HEADER)
        listed = [summary.recipe for summary in store.summaries()]
    assert listed == several
    assert [one.digest() for one in listed] == [one.digest() for one in several]


def test_a_reader_writes_nothing(opened, request):
    if "memory" in request.node.name:
        pytest.skip("nobody else reads a store in memory")
    with opened() as store:
        store.begin(recipe(), HEADER)
        where = store.backend.engine.url.render_as_string(hide_password=False)
        reader = uv.Store.reader(str(store) if where.startswith("sqlite") else where)
        for write in (lambda: reader.begin(recipe(), HEADER), lambda: reader.note([uv.Event("stopping")])):
            with pytest.raises(uv.StoreError, match="was opened to read"):
                write()
        assert len(reader.summaries()) == 1
