"""The store under faults: it fails or crashes before and after each of its writes; model and store agree.

A crash is raised as what nothing catches: at a statement, a flush, a renaming, a removal, before or after a commit.
What a real kill leaves behind is tested in `test_kill.py`.
"""

import errno
import itertools
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import unvanish as uv
from faults import FailsAt, at_each_call
from unvanish.core.curve import Epoch
from unvanish.core.serialisation import pack
from unvanish.core.table import Table
from unvanish.store.backends import sqlite
from unvanish.store.chunk import Chunk
from unvanish.store.events import Event
from unvanish.store.protocol import Header
from unvanish.store.verify import damages

LAYERS = ("hidden1", "output")
HEADER = Header({"torch": "2", "processor": "one", "measure_every": 1}, LAYERS)
RECIPES = [uv.method(name, hidden=(8,), samples=512, epochs=3) for name in ("baseline", "2", "3")]


class Crash(BaseException):
    """The process is gone; nothing cleans up."""


def chunk(number: int, state: str) -> Chunk:
    """One epoch, with what was measured and where it goes on."""
    row = Epoch(1, number, 1 / number, 0.5, float("nan") if number == 2 else 2 / number, -0.0, 0.1)
    values = {"backward_rms": np.full((1, 2), number / 7), "dead": np.array([[np.nan, 0.25]])}
    measured = Table(LAYERS, ((1, number),), values, {"hidden1": 8, "output": 10})
    going_on = pack({"epoch": number}, {"w": torch.full((3,), float(number))})
    if state == "unfinished":
        return Chunk(state, (row,), measured, checkpoint=going_on)
    return Chunk(state, (row,), measured, weights=pack({}, {"w": torch.full((3,), float(number))}))


@contextmanager
def failing(point: Callable[..., None]) -> Iterator[None]:
    """`point` is called before every statement, flush, renaming and removal, and before and after every commit."""

    real_commit = sqlite.commit

    def commit(connection, place) -> None:
        point()
        real_commit(connection, place)
        point()

    def before(function: Callable) -> Callable:
        def called(*arguments, **options):
            point()
            return function(*arguments, **options)

        return called

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unvanish.store.backends.sqlite.commit", commit)
        patch.setattr(os, "fsync", before(os.fsync))
        patch.setattr(Path, "replace", before(Path.replace))
        patch.setattr(Path, "unlink", before(Path.unlink))
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", point)
        try:
            yield
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", point)


def a_study(folder: Path, acknowledged: list[int]) -> None:
    """Two epochs of a run, each acknowledged when it is kept, from wherever it stands."""
    with uv.Store.writer(folder) as store:
        start = store.begin(RECIPES[0], HEADER)
        if start.ended:
            return
        assert start.epochs >= len(acknowledged)
        for number in range(start.epochs + 1, 3):
            store.add(RECIPES[0].digest(), chunk(number, "unfinished" if number < 2 else "finished"))
            acknowledged.append(number)
            store.note([Event.epoch(RECIPES[0].digest(), chunk(number, "unfinished").rows[0])])


@pytest.mark.parametrize(
    "error",
    [Crash, lambda: OSError(errno.ENOSPC, "No space left on device"), lambda: OSError(errno.EIO, "I/O error")],
    ids=["crash", "full", "I/O error"],
)
def test_at_every_write_a_fault_loses_nothing(error, tmp_path):
    for fault in at_each_call(error):
        folder = tmp_path / str(fault.k)
        acknowledged: list[int] = []
        with failing(fault), suppress(Crash, uv.StoreError, OSError):
            a_study(folder, acknowledged)
        if (folder / "unvanish.sqlite").exists():
            with suppress(uv.StoreError):  # it may have come to nothing but an empty file
                assert uv.Store.reader(folder).summaries() is not None
        a_study(folder, acknowledged)
        reader = uv.Store.reader(folder)
        assert list(damages(reader)) == []
        record = reader.record(RECIPES[0].digest())
        assert [row.epoch for row in record.epochs] == [1, 2]
        assert record.outcome.state == "finished"
        assert sorted(path.name for path in (folder / "checkpoints").glob("*")) == []
        assert len(list((folder / "weights").glob("*"))) == 1
    assert fault.k > 40


def test_nothing_is_added_to_a_run_that_is_damaged(tmp_path):
    """Its checksum would be written anew, and what is wrong be right."""
    with uv.Store.writer(tmp_path) as store:
        store.begin(RECIPES[0], HEADER)
        store.add(RECIPES[0].digest(), chunk(1, "unfinished"))
        with closing(sqlite3.connect(tmp_path / "unvanish.sqlite")) as database:
            database.execute("update run set seconds = 77")
            database.commit()
        with pytest.raises(uv.DamagedError, match="its row, with its recipe and outcome, is not what was written"):
            store.add(RECIPES[0].digest(), chunk(2, "finished"))


@dataclass
class Expected:
    """What the store has to hold of a run."""

    epochs: int = 0
    state: str = "unfinished"
    events: list[int] = field(default_factory=list)


class Stores(RuleBasedStateMachine):
    """Begin, add, finish, forget, crash anywhere, reopen, read meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.folder = Path(self.place.name) / "store"
        self.open = ExitStack()
        self.expected: dict[int, Expected] = {}
        self.events = 0

    @initialize()
    def first(self) -> None:
        self.store = self.open.enter_context(uv.Store.writer(self.folder))

    def teardown(self) -> None:
        self.open.close()
        self.place.cleanup()

    def do(self, work: Callable[[], object], after: int | None, becomes: Expected | None, crash: int | None) -> None:
        """Work that may crash at its `crash`-th write; then the run is as before or as after, and it is reopened."""
        if crash is None:
            work()
        else:
            fault = FailsAt(crash, Crash)
            with failing(fault), suppress(Crash):
                work()
            if fault.fired:
                self.open.close()
                self.open = ExitStack()
                self.store = self.open.enter_context(uv.Store.writer(self.folder))
                if after is not None and becomes is not None and self.seen(after) != as_seen(becomes):
                    return  # as before, which the invariant compares
        if after is not None and becomes is not None:
            self.expected[after] = becomes

    def seen(self, which: int) -> tuple[int, str] | None:
        found = {s.digest: s.outcome for s in uv.Store.reader(self.folder).summaries()}
        outcome = found.get(RECIPES[which].digest())
        return None if outcome is None else (outcome.epochs, outcome.state)

    runs = st.integers(0, len(RECIPES) - 1)
    crashes = st.none() | st.integers(1, 25)

    @rule(which=runs, fresh=st.booleans(), crash=crashes)
    def begin(self, which: int, fresh: bool, crash: int | None) -> None:
        known = self.expected.get(which)
        anew = known is None or fresh or (known.epochs == 0 and known.state != "finished")
        becomes = Expected() if anew else replace(known)
        self.do(lambda: self.store.begin(RECIPES[which], HEADER, fresh=fresh), which, becomes, crash)

    @precondition(lambda self: any(one.state == "unfinished" for one in self.expected.values()))
    @rule(data=st.data(), state=st.sampled_from(["unfinished", "finished", "failed"]), crash=crashes)
    def add(self, data, state: str, crash: int | None) -> None:
        going = [which for which, one in self.expected.items() if one.state == "unfinished"]
        which = data.draw(st.sampled_from(going))
        known = self.expected[which]
        made = Chunk("failed", error="lost") if state == "failed" else chunk(known.epochs + 1, state)
        becomes = Expected(known.epochs + len(made.rows), state)
        self.do(lambda: self.store.add(RECIPES[which].digest(), made), which, becomes, crash)

    @rule(count=st.integers(0, 3))
    def note(self, count: int) -> None:
        self.store.note([Event("began", "d", {"epochs": one}) for one in range(count)])
        self.events += count

    @invariant()
    def what_is_kept_is_what_was_written(self) -> None:
        if not hasattr(self, "store"):
            return
        reader = uv.Store.reader(self.folder)
        assert list(damages(reader)) == []
        for which in range(len(RECIPES)):
            one = self.expected.get(which)
            assert self.seen(which) == (None if one is None else as_seen(one))
            if one is None:
                continue
            record = reader.record(RECIPES[which].digest())
            assert [row.epoch for row in record.epochs] == list(range(1, one.epochs + 1))
            for row, number in zip(record.epochs, itertools.count(1), strict=False):
                assert repr(row).replace("-0.0", "0.0") == repr(chunk(number, "unfinished").rows[0]).replace(
                    "-0.0", "0.0"
                )
            if one.state == "finished":
                assert record.weights is not None
                assert record.weights["w"].tolist() == [float(one.epochs)] * 3
            if one.state == "unfinished" and one.epochs:
                assert reader.checkpoint(RECIPES[which].digest()) == chunk(one.epochs, "unfinished").checkpoint
        assert len(reader.events()) == self.events
        assert self.files() <= self.named()

    def files(self) -> set[str]:
        return {path.name for kind in ("checkpoints", "weights") for path in (self.folder / kind).glob("*")}

    def named(self) -> set[str]:
        """The files that the runs have, and no others: what a crash has left is removed when the store is opened."""
        names = set()
        for which, one in self.expected.items():
            short = RECIPES[which].digest()[:16]
            names |= {f"{short}.safetensors"} if one.state == "finished" else set()
            names |= {f"{short}-1-{one.epochs}.safetensors"} if one.state != "finished" and one.epochs else set()
        return names


def as_seen(one: Expected) -> tuple[int, str]:
    return one.epochs, one.state


Stores.TestCase.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStores = Stores.TestCase


class ManyStores(Stores):
    pass


ManyStores.TestCase.settings = settings(
    max_examples=int(os.environ.get("UNVANISH_SEQUENCES", "120")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestManyStores = pytest.mark.slow(ManyStores.TestCase)
