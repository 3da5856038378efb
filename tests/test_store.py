"""The store: what goes in comes out, one writer, many readers, nothing corrupt, nothing unpickled."""

import ast
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy
import torch

import unvanish as uv
from faults import at_each_call
from unvanish.core.output import write_whole
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.store.backends import folder as folder_module
from unvanish.store.chunk import Chunk
from unvanish.store.conditions import going_on, in_words
from unvanish.store.files import weights_name
from unvanish.store.verify import damages
from unvanish.study.training import header, training

CPU = torch.device("cpu")
SOURCES = Path(uv.__file__).parent


def test_a_run_comes_back_as_it_was(small, tmp_path):
    in_memory = uv.run(small)
    kept = uv.run(small, store=tmp_path)
    read = uv.Store.reader(tmp_path).record(small.digest())
    for record in (kept, read):
        assert record.recipe == small
        assert [r.val_loss for r in record.epochs] == [r.val_loss for r in in_memory.epochs]
        for name, series in in_memory.series.items():
            np.testing.assert_array_equal(record.series[name].values, series.values)
        assert all(torch.equal(record.weights[k], w) for k, w in in_memory.weights.items())
    assert read.outcome.state == "finished"
    assert read.environment["torch"] == torch.__version__


def test_the_weights_are_an_ordinary_safetensors_file(small, tmp_path):
    from safetensors.torch import load_file

    record = uv.run(small, store=tmp_path)
    (file,) = (tmp_path / "weights").iterdir()
    model = small.setup().model
    model.load_state_dict(load_file(file))
    assert all(torch.equal(value, record.weights[name]) for name, value in model.state_dict().items())
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_a_finished_recipe_is_not_trained_again_unless_fresh(small, tmp_path):
    seen = []
    uv.run(small, store=tmp_path)
    uv.run(small, store=tmp_path, on_epoch=seen.append)
    assert seen == []
    uv.run(small, store=tmp_path, fresh=True, on_epoch=seen.append)
    assert len(seen) == 2


def test_an_interrupted_run_goes_on(small, tmp_path):
    digest = small.digest()

    with uv.Store.writer(tmp_path) as store:
        store.begin(small, header(small, CPU))
        for item in training(small, fashion_mnist(), CPU, stop=lambda: True):
            if isinstance(item, Chunk):
                store.add(digest, item)
    assert uv.Store.reader(tmp_path).record(digest).outcome.state == "unfinished"
    seen = []
    record = uv.run(small, store=tmp_path, on_epoch=seen.append)
    assert [row.epoch for row in seen] == [2]
    assert [row.epoch for row in record.epochs] == [1, 2]


def test_a_run_goes_on_as_it_was_begun(small, tmp_path):
    with uv.Store.writer(tmp_path) as store:
        store.begin(small, header(small, CPU, measure_every=3))
        (_, chunk) = training(small, fashion_mnist(), CPU, stop=lambda: True)
        assert isinstance(chunk, Chunk)
        store.add(small.digest(), chunk)
        again = store.begin(small, header(small, CPU, measure_every=7))
        assert again.checkpoint is not None
        assert again.environment["measure_every"] == 3
        assert store.begin(small, header(small, CPU, measure_every=7), fresh=True).environment["measure_every"] == 7


def test_a_second_writer_is_refused_in_a_sentence(small, tmp_path):
    script = f"import unvanish as uv\nwith uv.Store.writer({str(tmp_path)!r}): pass"
    with uv.Store.writer(tmp_path):
        second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"another unvanish (process {os.getpid()}) is writing to {tmp_path}" in second.stderr
    subprocess.run([sys.executable, "-c", script], check=True)


def test_others_read_while_one_writes(small, tmp_path):
    seen = []
    with uv.Store.writer(tmp_path) as store:
        store.begin(small, header(small, CPU))
        for item in training(small, fashion_mnist(), CPU, stop=lambda: False):
            if isinstance(item, Chunk):
                store.add(small.digest(), item)
            seen.append(uv.Store.reader(tmp_path).summaries()[0].outcome.state)
    assert seen == ["unfinished", "unfinished", "finished"]


def test_a_reader_that_does_not_let_go_only_delays_the_writer(small, tmp_path, caplog):
    with uv.Store.writer(tmp_path) as store:
        start = header(small, CPU)
        hog = subprocess.Popen(
            [sys.executable, "-c",
             "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1]); c.execute('begin');"
             "c.execute('select * from schema').fetchall(); print('in', flush=True); time.sleep(7)",
             str(tmp_path / "unvanish.sqlite")], stdout=subprocess.PIPE,
        )  # fmt: skip
        assert hog.stdout
        assert hog.stdout.readline() == b"in\n"
        began = time.monotonic()
        store.begin(small, start)
        waited = time.monotonic() - began
        hog.kill()
        hog.wait()
        hog.stdout.close()
        assert [summary.digest for summary in store.summaries()] == [small.digest()]
        assert waited > 4
        assert "is reading" in caplog.text


def test_another_schema_version_is_refused(tmp_path):
    with uv.Store.writer(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "unvanish.sqlite") as connection:
        connection.execute("update schema set version = 99")
    connection.close()
    with pytest.raises(uv.StoreError, match="schema version 99"):
        uv.Store.reader(tmp_path)
    with pytest.raises(uv.StoreError, match="schema version 99"), uv.Store.writer(tmp_path):
        pass


def test_what_is_no_store_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(uv.StoreError, match="holds no store yet"):
        uv.Store.reader(tmp_path)
    (tmp_path / "unvanish.sqlite").write_bytes(b"something else" * 1000)
    with pytest.raises(uv.StoreError, match="not an intact store"):
        uv.Store.reader(tmp_path)
    (tmp_path / "unvanish.sqlite").write_bytes(b"")
    with pytest.raises(uv.StoreError, match="not an intact store"):
        uv.Store.reader(tmp_path)
    with pytest.raises(uv.StoreError, match="is not a folder"), uv.Store.writer(tmp_path / "unvanish.sqlite"):
        pass


def test_left_over_files_of_a_killed_writer_are_removed(small, tmp_path):
    uv.run(small, store=tmp_path)
    (tmp_path / "checkpoints").mkdir(exist_ok=True)
    names = [f"checkpoints/{small.digest()[:16]}-1-1.safetensors", f"weights/{small.digest()[:16]}.safetensors.part"]
    names += [
        f"{kind}/{small.digest()[:16]}{end}.safetensors.4711.part"
        for kind, end in (("checkpoints", "-1-2"), ("weights", ""))
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    with uv.Store.writer(tmp_path):
        assert not any((tmp_path / name).exists() for name in names)
    assert len(list((tmp_path / "weights").iterdir())) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A real file system with 1.2 MB of room."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", mount], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small disk needs root")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


def test_a_full_disk_is_a_sentence_and_nothing_is_corrupt(small_disk):
    big = uv.baseline(epochs=1, samples=512)  # its weights take 0.8 MB
    one, two = big, big.but(seed=1)
    uv.run(uv.baseline(hidden=(4,), epochs=1, samples=512), store=small_disk)
    uv.run(one, store=small_disk, epochs=None)
    with pytest.raises(uv.StoreError, match="no room left"):
        uv.run(two, store=small_disk)
    with sqlite3.connect(small_disk / "unvanish.sqlite") as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    connection.close()
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert uv.run(two, store=small_disk).outcome.state == "finished"
    assert all(s.outcome.state in ("finished", "unfinished") for s in uv.Store.reader(small_disk).summaries())


def test_a_read_only_store_is_read_and_not_written(small, small_disk):
    uv.run(small, store=small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try:
        assert uv.Store.reader(small_disk).record(small.digest()).outcome.state == "finished"
        with pytest.raises(uv.StoreError, match="cannot be written"):
            uv.run(small.but(seed=1), store=small_disk)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)


def test_nothing_in_the_package_unpickles():
    """No syntax tree under src/ imports or calls what would run code while reading."""
    banned_modules = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "multiprocessing"}
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").split(".")[0]}
            else:
                names = set()
            assert not names & banned_modules, f"{file}:{node.lineno}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                call = ast.unparse(node.func)
                assert call not in {"torch.load", "torch.save"}, f"{file}:{node.lineno}"
                assert not any(keyword.arg == "allow_pickle" for keyword in node.keywords), f"{file}:{node.lineno}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                own = file.name == "change.py"  # the text of our own checks' fixes
                assert own or node.func.id not in {"eval", "exec"}, f"{file}:{node.lineno}"


def test_a_store_can_be_moved(small, tmp_path):
    uv.run(small, store=tmp_path / "a")
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert uv.Store.reader(tmp_path / "b").record(small.digest()).weights is not None


def interrupted(recipe: uv.Recipe, folder: Path) -> str:
    """A store with a run after its first epoch; the run's digest."""
    with uv.Store.writer(folder) as store:
        store.begin(recipe, header(recipe, CPU))
        (_, chunk) = training(recipe, fashion_mnist(), CPU, stop=lambda: True)
        assert isinstance(chunk, Chunk)
        store.add(recipe.digest(), chunk)
    return recipe.digest()


def test_files_of_the_user_stay_where_they_are(small, tmp_path):
    other = small.but(seed=7).digest()[:16]
    foreign = [
        *("weights/my_model.pt", "checkpoints/last.ckpt", "checkpoints/.hidden", "notes.txt"),
        *(f"weights/{other}.safetensors", f"checkpoints/{other}-1-2.safetensors", "weights/folder/a.pt"),
    ]
    for name in foreign:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    uv.run(small, store=tmp_path)
    uv.run(small, store=tmp_path, fresh=True)
    assert all((tmp_path / name).read_text() == name for name in foreign)


@pytest.mark.parametrize("name", ["weights", "checkpoints", "lock", "owner", "unvanish.sqlite"])
def test_nothing_is_reached_through_a_link(small, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{small.digest()[:16]}.safetensors").write_text("mine")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / name).symlink_to(elsewhere)
    with pytest.raises(uv.StoreError, match=f"{name} is a link"), uv.Store.writer(tmp_path / "store"):
        pass
    assert [path.read_text() for path in elsewhere.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["owner", "lock"])
def test_a_foreign_file_is_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("Ada Lovelace")
    with pytest.raises(uv.StoreError, match=f"{name} is not a store's file"), uv.Store.writer(tmp_path):
        pass
    assert (tmp_path / name).read_text() == "Ada Lovelace"


def test_no_path_is_read_from_the_database(small, tmp_path):
    """It would be resumed from, and then deleted: only numbers stand there, and the digest, which is checked."""
    digest = interrupted(small, tmp_path / "store")
    own = tmp_path / "store" / "checkpoints" / f"{digest[:16]}-1-1.safetensors"
    victim = tmp_path / "victim.safetensors"
    shutil.copy(own, victim)
    with sqlite3.connect(tmp_path / "store" / "unvanish.sqlite") as database:
        columns = database.execute("select * from run").fetchone()
        assert not any(isinstance(value, str) and value.endswith(".safetensors") for value in columns)
        database.execute("update run set checkpoint_epoch = '../../../victim'")
    with pytest.raises(uv.StoreError):
        uv.run(small, store=tmp_path / "store")
    assert victim.exists()


def test_a_digest_that_leaves_the_store_is_refused(small, tmp_path):
    uv.run(small, store=tmp_path)
    with sqlite3.connect(tmp_path / "unvanish.sqlite") as database:
        database.execute("update run set digest = '../../victim'")
    with pytest.raises(uv.DamagedError, match="its row, with its recipe and outcome, is not what was written"):
        uv.Store.reader(tmp_path).record("../../victim")
    with pytest.raises(uv.StoreError, match="altered"):  # and were its checksum right
        weights_name("../../victim")


OLD = Path(__file__).parent / "stores" / "version1"


@pytest.fixture
def old_store(tmp_path):
    shutil.copytree(OLD, tmp_path / "old")
    return tmp_path / "old"


def test_a_store_of_version_1_is_read_as_it_was(old_store):
    """Written by version 0.1: a finished run, an unfinished one with a skip, a failed one."""
    before = {}
    with sqlite3.connect(old_store / "unvanish.sqlite") as database:
        for digest, acc in database.execute("select digest, max(val_acc) from epochs group by digest"):
            before[digest] = acc
    summaries = uv.Store.reader(old_store).summaries()
    assert [summary.outcome.state for summary in summaries] == ["finished", "unfinished", "failed"]
    assert {s.digest: s.outcome.best_val_acc for s in summaries if s.outcome.epochs} == before
    record = uv.Store.reader(old_store).record(summaries[0].digest)
    assert record.recipe is not None
    again = uv.run(record.recipe, measure_every=10)
    assert record.weights is not None
    for name, weight in again.weights.items():  # it was trained by another step
        torch.testing.assert_close(record.weights[name], weight, rtol=1e-4, atol=1e-5)
    for name in ("backward_rms", "weight_gradient_norm", "update_ratio", "activation_mean", "saturated"):
        np.testing.assert_allclose(record.series[name].values, again.series[name].values, rtol=1e-4, atol=1e-6)
    assert record.table.units == again.table.units
    with pytest.warns(DeprecationWarning, match="backward_rms"):
        assert record.series["backward_signal"] == record.series["backward_rms"]


def test_a_run_that_version_1_began_goes_on(old_store):
    unfinished = uv.Store.reader(old_store).summaries()[1]
    seen = []
    record = uv.run(unfinished.recipe, store=old_store, on_epoch=seen.append)
    assert [row.epoch for row in seen] == [2, 3]
    alone = uv.run(unfinished.recipe)
    assert [row.val_loss for row in record.epochs] == pytest.approx([row.val_loss for row in alone.epochs], rel=1e-6)
    for name, weight in alone.weights.items():
        torch.testing.assert_close(record.weights[name], weight, rtol=1e-4, atol=1e-5)


def test_going_on_under_another_library_is_told_and_kept(small, tmp_path, caplog):
    about = header(small, CPU)
    before = replace(about, environment=about.environment | {"blas": "another one", "cores": 99})
    recipe = small.but(epochs=2)
    with uv.Store.writer(tmp_path) as store:
        store.begin(recipe, before)
        calls = iter([True])
        for item in training(recipe, fashion_mnist(), CPU, stop=lambda: next(calls)):
            if isinstance(item, Chunk):
                store.add(recipe.digest(), item)
    record = uv.run(recipe, store=tmp_path)
    assert record.outcome.state == "finished"
    assert record.environment["goes on under"] == {"blas": [about.environment["blas"]]}
    assert "instead of another one" in caplog.text


def test_what_a_run_went_on_under_is_kept_in_order_and_told_once_for_each_change(caplog):
    first = {"torch": "A", "blas": "1", "cores": 2}
    second = going_on(first, {"torch": "B", "blas": "1", "cores": 4})
    assert second == first | {"goes on under": {"torch": ["B"]}}
    caplog.clear()
    assert going_on(second, {"torch": "B", "blas": "1"}) == second
    assert not caplog.text
    back = going_on(second, {"torch": "A", "blas": "1"})
    assert "goes on under torch A instead of B" in caplog.text
    assert in_words(back)["goes on under"] == "torch B, then A"
    assert going_on(first, first) == first


def test_a_newer_store_is_refused_in_a_sentence(small, tmp_path):
    uv.run(small, store=tmp_path)
    with sqlite3.connect(tmp_path / "unvanish.sqlite") as database:
        database.execute("update schema set version = 99")
    with pytest.raises(uv.StoreError, match="schema version 99, this unvanish has 4"):
        uv.Store.reader(tmp_path)


def test_events_can_be_followed_from_another_process(small, tmp_path):
    with uv.Store.writer(tmp_path) as store:
        store.note([uv.Event("began", small.digest(), {"epochs": 0}), uv.Event("stopping")])
        script = f"import unvanish as uv; print([e.kind for e in uv.Store.reader({str(tmp_path)!r}).events()])"
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert other.stdout == "['began', 'stopping']\n"
        last = store.events()[-1].id
        store.note([uv.Event("known", small.digest())])
        assert [event.kind for event in store.events(after=last)] == ["known"]


def test_neither_a_list_nor_a_begin_costs_more_where_there_are_more_runs(small):
    """By the statements that are executed, not by the clock."""
    from sqlalchemy import event

    def statements(runs: int) -> tuple[int, int]:
        with uv.Store.in_memory() as store:
            for seed in range(runs):
                store.begin(small.but(seed=seed), header(small, CPU))
            seen: list[str] = []
            event.listen(store.backend.engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
            assert len(store.summaries()) == runs
            listed = len(seen)
            store.begin(small.but(seed=99), header(small, CPU))
            return listed, len(seen) - listed

    assert statements(2) == statements(10)


@pytest.mark.parametrize("kept_in", ["a folder", "memory"])
def test_only_the_latest_checkpoint_is_kept(small, tmp_path, kept_in):
    recipe = small.but(epochs=4)
    with uv.Store.writer(tmp_path / "a" / "b") if kept_in == "a folder" else uv.Store.in_memory() as store:
        checkpoint = store.begin(recipe, header(recipe, CPU)).checkpoint
        for epoch in (1, 2):
            (*_, chunk) = training(recipe, fashion_mnist(), CPU, checkpoint, stop=lambda: True)
            store.add(recipe.digest(), chunk)
            start = store.begin(recipe, header(recipe, CPU))
            checkpoint = start.checkpoint
            assert checkpoint == chunk.checkpoint
            assert start.epochs == epoch
            assert checkpoints(store, tmp_path) == [f"{recipe.digest()[:16]}-1-{epoch}.safetensors"]
        store.begin(recipe, header(recipe, CPU), fresh=True)
        assert checkpoints(store, tmp_path) == []


def checkpoints(store: uv.Store, folder: Path) -> list[str]:
    here = folder / "a" / "b" / "checkpoints"
    if here.is_dir():
        return [path.name for path in here.iterdir()]
    with store.backend.reading() as session:
        return [Path(name).name for summary in store.summaries() for name in session.files.of_run(summary.digest)]


def test_what_is_not_in_the_store_is_said(tmp_path):
    with uv.Store.writer(tmp_path), pytest.raises(uv.StoreError, match="is not in"):
        uv.Store.reader(tmp_path).record("0" * 64)
    assert repr(uv.Store.reader(tmp_path)) == f"Store({str(tmp_path)!r})"


def test_a_file_that_cannot_be_written_whole_leaves_nothing_behind(tmp_path):
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "inside").touch()
    with pytest.raises(OSError, match="name"):
        write_whole(tmp_path / "name", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["name"]
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(20):
        write_whole(tmp_path / "other", b"content")
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert (tmp_path / "other").read_bytes() == b"content"


@pytest.mark.parametrize("version", ["version1", "version2", "version3"])
def test_an_upgrade_is_whole_or_not_at_all(version, tmp_path, monkeypatch):
    """It fails at each of its statements in turn; then the store is as it was, and the next writer upgrades it."""
    file = tmp_path / version / "unvanish.sqlite"
    shutil.copytree(OLD.parent / version, file.parent)
    before, bring = dump(file), folder_module.bring_up_to_date
    for fault in at_each_call(lambda: sqlite3.OperationalError("the power is gone")):

        def upgraded(session, version, fault=fault):
            sqlalchemy.event.listen(session.connection, "before_cursor_execute", fault)
            bring(session, version)

        monkeypatch.setattr(folder_module, "bring_up_to_date", upgraded)
        with suppress(uv.StoreError), uv.Store.writer(file.parent):
            pass
        assert not fault.fired or dump(file) == before
    assert fault.k > (20 if version != "version3" else 3)
    reader = uv.Store.reader(file.parent)
    assert len(reader.summaries()) == {"version1": 3}.get(version, 4)
    assert list(damages(reader)) == []


def dump(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as database:
        return list(database.iterdump())


@pytest.mark.parametrize("version", ["version1", "version2", "version3"])
def test_whoever_reads_an_old_store_changes_nothing(version, tmp_path):
    """It is upgraded in memory."""
    folder = tmp_path / "old"
    shutil.copytree(OLD.parent / version, folder)
    before = tree(folder)
    reader = uv.Store.reader(folder)
    for summary in reader.summaries():
        reader.record(summary.digest)
    assert list(damages(reader)) == []
    assert reader.events() or version == "version1"
    assert tree(folder) == before


def test_a_store_of_version_2_is_read_as_it_was(tmp_path):
    reader = uv.Store.reader(OLD.parent / "version2")
    finished, unfinished, failed, own = reader.summaries()
    assert [s.outcome.state for s in (finished, unfinished, failed, own)] == [
        "finished", "unfinished", "failed", "finished",
    ]  # fmt: skip
    assert (finished.outcome.epochs, finished.outcome.last_val_acc, own.name) == (2, 0.0657, "of my own")
    assert failed.outcome.error == "its worker died"
    assert [(e.kind, e.digest) for e in reader.events()] == [("epoch", unfinished.digest), ("ended", failed.digest)]
    shutil.copytree(OLD.parent / "version2", tmp_path / "store")
    record = uv.run(unfinished.recipe, store=tmp_path / "store")
    assert [row.epoch for row in record.epochs] == [1, 2, 3]


def tree(folder: Path) -> dict[str, tuple[float, bytes]]:
    """Every file with its content and the time of its change, and every folder with its own."""
    paths = [folder, *folder.rglob("*")]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths}


def test_a_store_is_read_by_a_process_that_has_not_used_recipes_yet(tmp_path):
    store = tmp_path / "store"
    uv.run(uv.method("2", samples=512, hidden=(8,)), epochs=1, store=store)
    code = (
        f"import unvanish as uv; (one,) = uv.Store.reader({str(store)!r}).summaries(); print(one.recipe.network.kind)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "mlp\n"
