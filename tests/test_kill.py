"""Kill it anywhere: real processes, really killed, and the same bits in the end."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import unvanish as uv
from unvanish.store.verify import damages

METHODS = ("4a-affine", "3", "6")  # running statistics, an optimizer with state, stages
EPOCHS = 12  # longer than the 5 seconds after which work is kept


def command(store: Path) -> list[str]:
    cli = [sys.executable, "-m", "unvanish", "reproduce", *METHODS]
    return [*cli, "--epochs", str(EPOCHS), "--jobs", "2", "--store", str(store), "--report", str(store / "r.html")]


def start(store: Path) -> subprocess.Popen:
    hung_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and so it would be by ours
    try:
        return subprocess.Popen(command(store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGHUP, hung_up)


def workers_of(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def wait_for_rows(store: Path, count: int, process: subprocess.Popen) -> None:
    """Until the store holds so many epochs."""
    while process.poll() is None:
        try:
            if sum(s.outcome.epochs for s in uv.Store.reader(store).summaries()) >= count:
                return
        except (uv.StoreError, sqlite3.Error):
            pass
        time.sleep(0.05)


def finish(store: Path) -> None:
    ended = subprocess.run(command(store), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Path:
    """The same study, left alone."""
    store = tmp_path_factory.mktemp("undisturbed")
    finish(store)
    return store


def assert_same_bits(store: Path, reference: Path) -> None:
    ours, theirs = uv.Store.reader(store), uv.Store.reader(reference)
    for method in METHODS:
        digest = uv.method(method, epochs=EPOCHS).digest()
        a, b = ours.record(digest), theirs.record(digest)
        assert a.outcome.state == b.outcome.state == "finished"
        for column in ("stage", "epoch", "train_loss", "train_acc", "val_loss", "val_acc"):
            assert a.curve[column] == b.curve[column]
        for name, series in b.series.items():
            assert a.series[name].steps == series.steps
            np.testing.assert_array_equal(a.series[name].values, series.values)
        assert {name: w.numpy().tobytes() for name, w in a.weights.items()} == {
            name: w.numpy().tobytes() for name, w in b.weights.items()
        }
    assert not list((store / "checkpoints").glob("*"))


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def test_killing_a_worker_does_not_end_the_study(tmp_path, undisturbed):
    process = start(tmp_path)
    wait_for_rows(tmp_path, 3, process)
    os.kill(random.choice(workers_of(process.pid)), signal.SIGKILL)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "lost its worker (killed by signal 9)" in err
    assert out.splitlines()[-1] == str(tmp_path / "r.html")
    assert_same_bits(tmp_path, undisturbed)


def test_killing_the_parent_ends_its_workers_and_the_same_command_goes_on(tmp_path, undisturbed):
    process = start(tmp_path)
    wait_for_rows(tmp_path, 6, process)
    workers = workers_of(process.pid)
    assert len(workers) == 2
    process.kill()
    process.communicate()
    kept = sum(s.outcome.epochs for s in uv.Store.reader(tmp_path).summaries())
    assert kept >= 6
    until = time.monotonic() + 10
    while not all(map(gone, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert all(map(gone, workers)), "a worker outlived its parent"
    finish(tmp_path)
    assert_same_bits(tmp_path, undisturbed)


def test_ctrl_c_keeps_every_epoch_and_says_so(tmp_path, undisturbed):
    process = start(tmp_path)
    wait_for_rows(tmp_path, 3, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "finishing the epoch that each run is at" in err
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    finish(tmp_path)
    assert_same_bits(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(os.environ.get("UNVANISH_KILL_SEEDS", "12"))))
def test_killing_at_random_moments(seed, tmp_path, undisturbed):
    """Parents and workers, six times each; `UNVANISH_KILL_SEEDS=34` makes it two hundred."""
    dice = random.Random(seed)
    kills = 0
    for _ in range(6):
        process = start(tmp_path)
        time.sleep(dice.uniform(0.2, 9))
        if process.poll() is None:
            victims = [process.pid, *workers_of(process.pid)]
            victim = dice.choice(victims)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
            kills += 1
            if victim != process.pid:
                time.sleep(dice.uniform(0.2, 4))
                kills += process.poll() is None
            process.kill()
        process.communicate()
        file = tmp_path / "unvanish.sqlite"
        if file.exists():
            connection = sqlite3.connect(file)
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
            connection.close()
    finish(tmp_path)
    assert list(damages(uv.Store.reader(tmp_path))) == []
    assert_same_bits(tmp_path, undisturbed)
    print(f"{kills} kills")


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "hung up")]
)
def test_what_schedulers_and_terminals_send_ends_it_as_ctrl_c_does(tmp_path, undisturbed, number, code, word):
    process = start(tmp_path)
    wait_for_rows(tmp_path, 3, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"unvanish: {word}; what is done is kept" in errors
    finish(tmp_path)
    assert_same_bits(tmp_path, undisturbed)


def test_it_ends_in_the_background_of_a_script_too(tmp_path):
    """There SIGINT is ignored, by which the others are passed on."""
    script = 'trap "" INT; exec "$@"'
    process = subprocess.Popen(["sh", "-c", script, "sh", *command(tmp_path)], stderr=subprocess.PIPE, text=True)
    wait_for_rows(tmp_path, 1, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "unvanish: terminated; what is done is kept" in errors


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a process with its parent")
def test_workers_end_with_their_parent_at_once(tmp_path):
    process = start(tmp_path)
    wait_for_rows(tmp_path, 1, process)
    workers = workers_of(process.pid)
    assert workers
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 1.0
    while not all(map(gone, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(map(gone, workers))
