"""A real Ray cluster of two nodes on this machine: the same bits as locally, whatever is killed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import unvanish as uv
from ray_nodes import TwoNodes, free_port
from test_kill import EPOCHS, METHODS, assert_same_bits, finish, gone, wait_for_rows
from unvanish.core.errors import ClusterError
from unvanish.store.verify import damages
from unvanish.study.executors import cluster
from unvanish.study.executors.cluster import RayCluster
from unvanish.study.scheduler import train_all
from unvanish.study.training import SAVE_WITHIN_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: make test-slow installs it"),
    pytest.mark.xdist_group("ray"),  # one cluster at a time
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning:ray.*"),  # of files that Ray leaves open
]
CPU = torch.device("cpu")
NODE_DIES_S = 60.0  # Ray takes a node that says nothing for dead after half of it


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> Iterator[TwoNodes]:
    """Without a cache of data sets, or a way to fetch any. Ray reads its token when it is imported: after this."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    empty = {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")), "UNVANISH_DATA": ""}
    with TwoNodes(**empty, HTTP_PROXY=nowhere, HTTPS_PROXY=nowhere) as started, pytest.MonkeyPatch.context() as patch:
        for name, value in started.environment.items():
            patch.setenv(name, value)
        yield started


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The same study, by local workers, left alone."""
    store = tmp_path_factory.mktemp("alone")
    finish(store)
    return store


def command(store: Path, nodes: TwoNodes) -> list[str]:
    cli = [sys.executable, "-m", "unvanish", "reproduce", *METHODS, "--epochs", str(EPOCHS), "--engine", "ray"]
    return [*cli, "--address", nodes.address, "--store", str(store), "--report", str(store / "r.html")]


def start(store: Path, nodes: TwoNodes) -> subprocess.Popen:
    return subprocess.Popen(command(store, nodes), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def study(recipes, store, executor, listen) -> list[tuple]:
    """Train them; what was heard of and what was kept, in order: `(kind, digest, (stage, epoch), seconds)`."""
    log, keep = [], store.add

    def add(digest, chunk):
        keep(digest, chunk)
        log.extend(("kept", digest, (row.stage, row.epoch), row.seconds) for row in chunk.rows)

    def hear(event):
        at = ((event.row.stage, event.row.epoch), event.row.seconds) if event.kind == "epoch" else (None, 0.0)
        log.append((event.kind, event.digest, *at))
        listen(event)

    store.add = add
    train_all(recipes, store, executor=executor, device=CPU, listen=hear)
    return log


def assert_little_was_repeated(log: list[tuple]) -> None:
    """What was kept is never trained again; of the rest no more than a save interval for each death."""
    kept, heard, repeated, longest = {}, {}, {}, 0.0
    for kind, digest, at, seconds in log:
        if kind == "epoch":
            assert at > kept.get(digest, (-1, -1))
            if at in heard.setdefault(digest, set()):
                repeated[digest] = repeated.get(digest, 0.0) + seconds
            heard[digest].add(at)
            longest = max(longest, seconds)
        elif kind == "kept":
            assert at > kept.get(digest, (-1, -1)), "a row twice"
            kept[digest] = at
    deaths = {digest: sum(entry[:2] == ("died", digest) for entry in log) for digest in heard}
    assert sum(deaths.values())
    for digest, seconds in repeated.items():
        assert seconds <= deaths[digest] * (SAVE_WITHIN_S + longest)


def test_the_same_bits_as_locally_and_nothing_is_fetched_on_a_node(tmp_path, nodes, alone):
    done = subprocess.run(command(tmp_path, nodes), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "r.html")
    said = done.stderr.splitlines()
    assert said[0] == "Starting 2 worker processes"
    assert len(said) == 1 + len(METHODS), done.stderr  # nothing of Ray's
    assert_same_bits(tmp_path, alone)
    assert not list(Path(nodes.of_nodes["XDG_CACHE_HOME"]).rglob("*.gz"))
    here = uv.Store.reader(alone)
    for summary in (there := uv.Store.reader(tmp_path)).summaries():
        assert there.record(summary.digest).environment == here.record(summary.digest).environment


def test_a_killed_worker(tmp_path, nodes, alone):
    process = start(tmp_path, nodes)
    wait_for_rows(tmp_path, 3, process)
    os.kill(random.choice(nodes.actors()), signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "lost its worker (process" in err
    assert_same_bits(tmp_path, alone)


def test_a_killed_node_and_another_in_its_place(tmp_path, nodes, alone):
    process = start(tmp_path, nodes)
    wait_for_rows(tmp_path, 3, process)
    nodes.kill("second")
    time.sleep(2)
    nodes.start("second")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "raylet" not in out + err  # Ray has printed nothing
    assert "lost its worker" in err
    assert_same_bits(tmp_path, alone)


def test_a_killed_driver_whose_command_goes_on(tmp_path, nodes, alone):
    dice = random.Random(1)
    kept = {}
    for _ in range(3):
        process = start(tmp_path, nodes)
        time.sleep(dice.uniform(4, 12))
        actors = nodes.actors()
        process.kill()
        process.communicate()
        until = time.monotonic() + 20
        while not all(map(gone, actors)) and time.monotonic() < until:
            time.sleep(0.1)
        assert all(map(gone, actors)), "an actor outlived its driver"
        store = uv.Store.reader(tmp_path)
        assert list(damages(store)) == []
        for summary in store.summaries():
            now = [(row.stage, row.epoch, row.val_loss) for row in store.record(summary.digest).epochs]
            before = kept.get(summary.digest, [])
            assert now[: len(before)] == before
            kept[summary.digest] = now
    done = subprocess.run(command(tmp_path, nodes), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_same_bits(tmp_path, alone)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_keeps_every_epoch(tmp_path, nodes, alone, number, code):
    process = start(tmp_path, nodes)
    wait_for_rows(tmp_path, 3, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=40)
    assert process.returncode == code, err
    assert "finishing the epoch that each run is at" in err
    assert "Traceback" not in err
    store = uv.Store.reader(tmp_path)
    heard = {(event.digest, event.row.stage, event.row.epoch) for event in store.events() if event.kind == "epoch"}
    rows = [(s.digest, row.stage, row.epoch) for s in store.summaries() for row in store.record(s.digest).epochs]
    assert set(rows) == heard
    assert len(rows) == len(heard)
    done = subprocess.run(command(tmp_path, nodes), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_same_bits(tmp_path, alone)


def test_what_is_kept_is_not_trained_again(tmp_path, nodes):
    """With data of one's own, floats, which only the driver has; and a worker killed twice."""
    made = torch.Generator().manual_seed(0)
    pairs = [(torch.randn(size, 20, generator=made), torch.randint(3, (size,), generator=made)) for size in (60000, 99)]
    data = uv.DataSet.of(*pairs, name="noise")
    recipes = [uv.baseline(hidden=(64, 64), data=data, epochs=120, seed=seed) for seed in (1, 2)]
    kept_before, kills = [], []

    def kill_after(event):
        kept_before.append(event.kind)
        if event.kind == "epoch" and kept_before.count("epoch") in (100, 180):
            kills.append(nodes.actors()[0])
            os.kill(kills[-1], signal.SIGKILL)

    with uv.Store.writer(tmp_path) as store:
        log = study(recipes, store, RayCluster(2, nodes.address), kill_after)
        assert len(kills) == 2
        assert_little_was_repeated(log)
        for recipe in recipes:
            record, here = store.record(recipe.digest()), uv.run(recipe)
            assert record.curve["val_loss"] == here.curve["val_loss"]
            assert "goes on under" not in record.environment
            assert all(torch.equal(record.weights[name], weight) for name, weight in here.weights.items())
        assert list(damages(store)) == []


@pytest.mark.parametrize("more", [None, lambda digest: []])  # with it, places rest that have no job
def test_more_places_than_cpus_wait_and_the_others_go_on(tmp_path, nodes, small, monkeypatch, caplog, more):
    monkeypatch.setattr(cluster, "WAITING_S", 0.5)
    recipes = [small.but(seed=seed, epochs=20) for seed in range(3)]
    with uv.Store.writer(tmp_path) as store:
        train_all(recipes, store, executor=RayCluster(3, nodes.address), device=CPU, more=more)
        assert all(store.record(recipe.digest()).outcome.state == "finished" for recipe in recipes)
    assert f"of 3 places wait for a free CPU of the cluster at {nodes.address}" in caplog.text


def test_other_versions_on_a_node_are_told(tmp_path, nodes, small, monkeypatch):
    ours = cluster.versions()
    monkeypatch.setattr(cluster, "versions", lambda: ours | {"torch": "9.9"})
    with (
        uv.Store.writer(tmp_path) as store,
        pytest.raises(ClusterError, match=f"torch {ours['torch'].partition('+')[0]}.* instead of 9.9: install"),
    ):
        train_all([small], store, executor=RayCluster(1, nodes.address), device=CPU)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:x", "ray://127.0.0.1:10001"])
def test_no_cluster_is_told_soon(address, nodes):
    began = time.monotonic()
    with pytest.raises(ClusterError, match="cluster"):
        RayCluster(1, address)
    assert time.monotonic() - began < 10


def test_devices_other_than_the_cpu_are_refused(tmp_path, nodes, small):
    with uv.Store.writer(tmp_path) as store, pytest.raises(ClusterError, match="not on cuda"):
        train_all([small], store, executor=RayCluster(1, nodes.address), device=torch.device("cuda"))
