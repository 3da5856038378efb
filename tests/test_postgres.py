"""Several writers to one PostgreSQL server: who trains what, what is kept when one of them dies, and what is said."""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch

import unvanish as uv
from chunks import HEADER, checkpoint, chunk, recipe
from unvanish.core.errors import ClaimLostError
from unvanish.store.backends import leases
from unvanish.store.verify import damages
from unvanish.study.executors.pool import WorkerPool
from unvanish.study.scheduler import train_all

CPU = torch.device("cpu")

# A machine that trains the recipes of some seeds, and says what it has begun.
MACHINE = """
import sys, torch, unvanish as uv
from unvanish.store.backends import leases
from unvanish.study.executors.pool import WorkerPool
from unvanish.study.scheduler import train_all
leases.LEASE_S = float(sys.argv[2])
recipes = [uv.baseline(hidden=(8,), samples=512, epochs=40, seed=seed) for seed in range(int(sys.argv[3]))]
def listen(event):
    if event.kind in ("began", "ended", "known"):
        print(event.kind, event.digest, flush=True)
with uv.Store.writer(sys.argv[1]) as store:
    train_all(recipes, store, executor=WorkerPool(1), device=torch.device("cpu"), listen=listen)
"""

# One that begins a run, keeps an epoch, and then neither goes on nor ends.
STUCK = """
import sys, time
sys.path.insert(0, sys.argv[3])
import unvanish as uv
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.store.backends import leases
from unvanish.store.chunk import Chunk
from unvanish.study.training import header, training
import torch
leases.LEASE_S = float(sys.argv[2])
recipe = uv.baseline(hidden=(8,), samples=512, epochs=3)
with uv.Store.writer(sys.argv[1]) as store:
    store.begin(recipe, header(recipe, torch.device("cpu")))
    for item in training(recipe, fashion_mnist(), torch.device("cpu"), stop=lambda: True):
        if isinstance(item, Chunk):
            store.add(recipe.digest(), item)
    print("kept", flush=True)
    time.sleep(600)
"""


def machine(code: str, *arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_the_same_training_is_the_same_record_there(small, database, tmp_path):
    here, there = uv.run(small, store=tmp_path), uv.run(small, store=database)
    for record in (there, uv.Store.reader(database).record(small.digest())):
        for column in ("stage", "epoch", "train_loss", "train_acc", "val_loss", "val_acc"):
            assert record.curve[column] == here.curve[column]
        assert record.series.keys() == here.series.keys()
        for name, series in here.series.items():
            assert record.series[name].values.tobytes() == series.values.tobytes()
        assert all(torch.equal(record.weights[name], weight) for name, weight in here.weights.items())
        assert record.environment == here.environment
    assert uv.run(small, store=database).outcome == there.outcome  # it is not trained again


@pytest.mark.slow
def test_two_machines_share_a_study(database):
    both = [machine(MACHINE, database, 60, 12) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    lines = [tuple(line.split()) for out, _ in said for line in out.splitlines()]
    digests = {uv.baseline(hidden=(8,), samples=512, epochs=40, seed=seed).digest() for seed in range(12)}
    assert Counter(digest for kind, digest in lines if kind == "ended") == dict.fromkeys(digests, 1)
    assert Counter(digest for kind, digest in lines if kind == "began") == dict.fromkeys(digests, 1)
    assert Counter(digest for kind, digest in lines if kind in ("ended", "known")) == dict.fromkeys(digests, 2)
    assert all("ended" in out for out, _ in said)  # neither has left all to the other
    reader = uv.Store.reader(database)
    assert [s.outcome.state for s in reader.summaries()] == ["finished"] * 12
    assert all([row.epoch for row in reader.record(d).epochs] == list(range(1, 41)) for d in digests)
    assert list(damages(reader)) == []


@pytest.mark.slow
def test_when_a_machine_dies_another_goes_on_from_its_last_checkpoint(database, monkeypatch):
    monkeypatch.setattr(leases, "LEASE_S", 4.0)
    dying = machine(STUCK, database, 4, ".")
    assert dying.stdout.readline() == "kept\n", dying.stderr.read()
    one = uv.baseline(hidden=(8,), samples=512, epochs=3)
    time.sleep(5)  # longer than a lease, which it renews
    with uv.Store.writer(database) as store:
        start = store.begin(one, HEADER)
        assert start.elsewhere is not None
        assert f":{dying.pid}:" in start.elsewhere
        assert start.epochs == 1
        with pytest.raises(uv.StoreError, match="is training this run"):
            uv.run(one, store=database)
        with pytest.raises(ClaimLostError, match="taken over"):
            store.add(one.digest(), chunk(2, 2))
        dying.kill()
        dying.communicate()
        events = []
        began = time.monotonic()
        train_all([one], store, executor=WorkerPool(1), device=CPU, listen=events.append)
        assert time.monotonic() - began > 2  # until the lease had run out
        assert [(event.kind, event.data.get("epoch", event.data.get("epochs"))) for event in events] == [
            ("began", 1), ("epoch", 2), ("epoch", 3), ("ended", None),
        ]  # fmt: skip
        alone = uv.run(one)
        record = store.record(one.digest())
        assert [row.val_loss for row in record.epochs] == [row.val_loss for row in alone.epochs]
        assert list(damages(store)) == []


@pytest.mark.slow
def test_what_was_taken_over_is_not_written_twice(database, monkeypatch):
    monkeypatch.setattr(leases, "LEASE_S", 0.5)
    monkeypatch.setattr(leases, "RENEWALS", 0.001)  # as of a machine that sleeps
    one, digest = recipe(), recipe().digest()
    with uv.Store.writer(database) as asleep, uv.Store.writer(database) as awake:
        asleep.begin(one, HEADER)
        asleep.add(digest, chunk(1, 1))
        assert awake.begin(one, HEADER).elsewhere
        time.sleep(0.6)
        assert awake.begin(one, HEADER).checkpoint == checkpoint(1)
        with pytest.raises(ClaimLostError, match="taken over by"):
            asleep.add(digest, chunk(2, 2))
        awake.add(digest, chunk(2, 3, "finished"))
        with pytest.raises(ClaimLostError, match="which has ended it"):
            asleep.add(digest, chunk(2, 2))
        assert asleep.begin(one, HEADER).ended
        assert [row.epoch for row in awake.record(digest).epochs] == [1, 2, 3]
        assert list(damages(awake)) == []


@pytest.mark.slow
def test_a_writer_that_closes_gives_its_runs_up(database):
    with uv.Store.writer(database) as other:
        with uv.Store.writer(database) as store:
            store.begin(recipe(), HEADER)
            assert other.begin(recipe(), HEADER).elsewhere
        assert not other.begin(recipe(), HEADER).elsewhere


@pytest.mark.slow
def test_of_many_that_want_a_run_one_gets_it(database):
    with ExitStack() as open_until_the_end:
        stores = [open_until_the_end.enter_context(uv.Store.writer(database)) for _ in range(16)]
        together = threading.Barrier(len(stores))

        def begin(store: uv.Store) -> list[bool]:
            got = []
            for seed in range(5):
                together.wait()
                got.append(store.begin(recipe(seed), HEADER).elsewhere is None)
            return got

        with ThreadPoolExecutor(len(stores)) as pool:
            won = list(pool.map(begin, stores))
        assert [sum(column) for column in zip(*won, strict=True)] == [1] * 5
        assert list(damages(stores[0])) == []


@pytest.mark.slow
def test_a_new_database_may_be_opened_by_many_at_once(database):
    together = threading.Barrier(8)

    def opened(seed: int) -> str:
        together.wait()
        with uv.Store.writer(database) as store:
            store.begin(recipe(seed), HEADER)
            return str(store)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(opened, range(8)))) == 1
    assert len(uv.Store.reader(database).summaries()) == 8


@pytest.mark.slow
def test_64_writers_lose_nothing_and_write_nothing_twice(database):
    """Each with connections of its own: 1,000 epochs and as many events."""
    writers, epochs, at_once = 64, 1000, 50
    with uv.Store.writer(database):
        pass

    def write(seed: int) -> None:
        one = recipe(seed, epochs)
        with uv.Store.writer(database) as store:
            store.begin(one, HEADER)
            for first in range(1, epochs, at_once):
                last = first + at_once - 1
                part = chunk(first, last, "finished" if last == epochs else "unfinished", measured=False)
                store.add(one.digest(), part)
                store.note([uv.Event.epoch(one.digest(), row) for row in part.rows])

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    reader = uv.Store.reader(database)
    assert list(damages(reader)) == []
    assert [s.outcome.state for s in reader.summaries()] == ["finished"] * writers
    for seed in range(writers):
        rows = reader.record(recipe(seed, epochs).digest()).epochs
        assert [row.epoch for row in rows] == list(range(1, epochs + 1))
    events = reader.events()
    assert [event.id for event in events] == list(range(1, writers * epochs + 1))
    assert Counter((event.digest, event.row.epoch) for event in events).most_common(1)[0][1] == 1


def half_done(store: uv.Store, meanwhile: Callable[[], None]) -> None:
    with store.backend.writing() as session:
        session.connection.exec_driver_sql("delete from curve")
        meanwhile()
        session.connection.exec_driver_sql("delete from series")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_a_server_that_goes_away_is_a_sentence_and_nothing_is_lost(how, postgresql):
    database, one = postgresql.new_database(), recipe(epochs=4)
    with uv.Store.writer(database) as store:
        store.begin(one, HEADER)
        store.add(one.digest(), chunk(1, 2))
        with pytest.raises(uv.StoreError, match="cannot be reached"):
            half_done(store, lambda: postgresql.stop(how))
        for lost in (lambda: store.add(one.digest(), chunk(3, 4, "finished")), store.summaries):
            with pytest.raises(uv.StoreError, match="cannot be reached"):
                lost()
        with pytest.raises(uv.StoreError, match="it goes on from what was kept"):
            uv.Store.reader(database)
        postgresql.start()
        assert store.begin(one, HEADER).checkpoint == checkpoint(2)
        store.add(one.digest(), chunk(3, 4, "finished"))
        assert len(store.record(one.digest()).epochs) == 4
        assert list(damages(store)) == []


@pytest.mark.slow
def test_what_the_server_refuses_is_a_sentence_without_the_password(postgresql, database):
    postgresql.ask("create role secretive login password 'right'; create role guest login")
    for url, sentence in (
        (postgresql.url("nowhere"), "make the database with createdb"),
        (postgresql.url("postgres", "nobody"), "correct the user or the password"),
        (postgresql.url("postgres", "secretive", "wrong"), "correct the user or the password"),
        (database.replace("tester", "guest"), "does not let this user do that"),
        (database.replace("tester", "guest") + "?connect_timeout=3", "grant all on schema public"),
        ("postgresql://tester:wrong@127.0.0.1:1/runs", "cannot be reached"),
        ("postgresql://tester:wrong@name.invalid/runs", "cannot be reached"),
    ):
        with pytest.raises(uv.StoreError, match=sentence) as refused, uv.Store.writer(url):
            pass
        assert "wrong" not in str(refused.value)
    with pytest.raises(uv.StoreError, match="holds no store yet"):
        uv.Store.reader(database)


@pytest.mark.slow
def test_tables_of_another_program_are_left_as_they_are(postgresql, database):
    name = database.rpartition("/")[2]
    postgresql.ask("create table notes (text text)", name)
    with uv.Store.writer(database):  # beside ours it may have any
        pass
    other = postgresql.new_database()
    postgresql.ask("create table run (text text)", other.rpartition("/")[2])
    with pytest.raises(uv.StoreError, match="is not a store of unvanish"), uv.Store.writer(other):
        pass
    assert postgresql.ask("select count(*) from pg_tables where schemaname = 'public'", other.rpartition("/")[2]) == "1"
    postgresql.ask("update schema set version = 99", name)
    with pytest.raises(uv.StoreError, match="schema version 99"), uv.Store.writer(database):
        pass


@pytest.mark.slow
def test_a_damaged_row_is_told_there_too(postgresql, database):
    with uv.Store.writer(database) as store:
        store.begin(recipe(), HEADER)
        store.add(recipe().digest(), chunk(1, 1))
        for statement, told in (
            ("update blob set content = 'x'", "is not what was written"),
            ("delete from blob", "is missing"),
            ("update curve set train_acc = 0.6", "not those that were written"),
        ):
            postgresql.ask(statement, database.rpartition("/")[2])
            assert any(told in sentence for sentence in damages(store))
        with pytest.raises(uv.DamagedError):
            store.begin(recipe(), HEADER)
        store.begin(recipe(), HEADER, fresh=True)
        assert list(damages(store)) == []


@pytest.mark.slow
def test_the_commands_take_a_url(postgresql, tmp_path):
    from unvanish.cli.exit import FAILED

    database = postgresql.new_database().replace("tester@", "tester:hidden@")
    made = uv.run(uv.baseline(hidden=(8,), samples=512, epochs=1), store=database)
    for command, code in (("runs", 0), ("runs --verify", 0), ("report", 0), ("show nothing", FAILED)):
        words = [sys.executable, "-m", "unvanish", *command.split(), "--store", database]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert "hidden@" not in done.stdout + done.stderr
    assert (tmp_path / "report.html").is_file()
    assert made.outcome.state == "finished"


# Without a server


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://me:hidden@host/db", "kept in a folder or in PostgreSQL"),
        ("postgresql+asyncpg://me:hidden@host/db", "kept in a folder or in PostgreSQL"),
        ("postgresql://me:hid@den@host:port/db", "the store's URL cannot be read"),
    ],
)
def test_a_url_that_is_none_is_refused_without_its_password(url, sentence):
    with pytest.raises(uv.StoreError, match=sentence) as refused:
        uv.Store.reader(url)
    assert "den" not in str(refused.value)


def test_without_its_driver_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(uv.StoreError, match=r"pip install 'unvanish\[postgres\]'") as refused:
        uv.Store.reader("postgresql://me:hidden@host/db")
    assert "hidden" not in str(refused.value)
