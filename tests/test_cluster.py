"""What a cluster does, without one: a node's actor in this process, behind the executor's protocol."""

import itertools
import socket
import sys
from typing import Self

import numpy as np
import pytest
import torch

import unvanish as uv
from unvanish.core.errors import ClusterError
from unvanish.core.serialisation import meta_of, pack, unpack
from unvanish.data.messages import arrays_of_data, data_of_arrays
from unvanish.store.conditions import GOES_ON_UNDER
from unvanish.study.executors.cluster import RayCluster, reach
from unvanish.study.executors.node import Node, versions
from unvanish.study.scheduler import train_all

CPU = torch.device("cpu")


class Here:
    """One place, whose job is trained as its messages are asked for; it dies after so many of them."""

    def __init__(self, processor: str | None = None, dies_after: int | None = None) -> None:
        self.processor, self.dies_after, self.deaths = processor, dies_after, 0
        self.here, self.places, self.over = False, 1, False
        self.workers, self.data = [self], {}

    def provide(self, data):
        self.data[data] = arrays_of_data(uv.load_data(data))
        for array in self.data[data].values():
            array.flags.writeable = False  # as in shared memory

    def give(self, job):
        self.node = Node(versions())
        self.stream = itertools.islice(self.node.train(job, self.data[meta_of(job)["data"]]), self.dies_after)

    def finish_soon(self):
        self.node.finish_soon()

    def dismiss(self):
        self.over = True

    def spawn(self):
        self.over, self.dies_after = False, None
        self.workers.append(self)
        return self

    def reap(self, worker):
        self.deaths += 1
        self.workers.remove(worker)
        return "it died"

    def ready(self, timeout):
        return list(self.workers)

    def messages(self, ready):
        for _ in ready:
            message = None if self.over else next(self.stream, None)
            if message is not None and self.processor and meta_of(message)["about"] == "under":
                meta, _ = unpack(message)
                meta["environment"]["processor"] = self.processor
                message = pack(meta)
            yield self, message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_):
        pass


def trained(folder, recipe, executor, **options):
    with uv.Store.writer(folder) as store:
        train_all([recipe], store, executor=executor, device=CPU, **options)
        return store.record(recipe.digest())


def test_on_a_node_the_bits_are_the_same(tmp_path, small):
    executor = Here(dies_after=2)
    record, here = trained(tmp_path, small, executor), uv.run(small, store=tmp_path / "here")
    assert executor.deaths == 2  # one, and its end
    assert record.curve["val_loss"] == here.curve["val_loss"]
    assert all(torch.equal(record.weights[name], weight) for name, weight in here.weights.items())
    assert record.environment == uv.Store.reader(tmp_path / "here").record(small.digest()).environment


def test_a_run_is_kept_under_what_its_node_says_from_its_first_chunk_on(tmp_path, small, monkeypatch, caplog):
    monkeypatch.setattr("unvanish.study.training.SAVE_WITHIN_S", 0.0)
    recipe = small.but(epochs=6)
    with uv.Store.writer(tmp_path) as store:
        one = Here("one")
        epochs = itertools.count(1)

        def stop_after_two(event):
            if event.kind == "epoch" and next(epochs) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_all([recipe], store, executor=one, device=CPU, listen=stop_after_two)
        begun = store.record(recipe.digest())
        assert begun.outcome.state == "unfinished"
        assert begun.environment["processor"] == "one"
        assert GOES_ON_UNDER not in begun.environment
        train_all([recipe], store, executor=Here("one", dies_after=3), device=CPU)
        assert not caplog.records
        assert GOES_ON_UNDER not in store.record(recipe.digest()).environment
    moved = trained(tmp_path / "moved", recipe, Mixed("one", "other"))
    assert moved.environment["processor"] == "one"
    assert moved.environment[GOES_ON_UNDER] == {"processor": ["other"]}
    assert "goes on under processor other instead of one" in caplog.text
    assert [row.epoch for row in moved.epochs] == [1, 2, 3, 4, 5, 6]


class Mixed(Here):
    """Dies on its first node, and goes on on another."""

    def __init__(self, first, second):
        super().__init__(first, dies_after=5)
        self.second = second

    def spawn(self):
        self.processor = self.second
        return super().spawn()


def test_data_in_memory_that_cannot_be_written_to():
    data = uv.DataSet.of((torch.rand(8, 2, 3), torch.arange(8) % 3), (torch.rand(4, 2, 3), torch.arange(4) % 3))
    arrays = arrays_of_data(data)
    for array in arrays.values():
        array.flags.writeable = False
    again = data_of_arrays(arrays, data.name)
    assert (again.name, again.inputs, again.classes) == (data.name, 6, 3)
    assert np.shares_memory(again.train.pixels_ND.numpy(), data.train.pixels_ND.numpy())
    assert torch.equal(again.test.labels_N, data.test.labels_N)


def test_a_node_of_another_version_refuses():
    with pytest.raises(ClusterError, match=r"has torch .* instead of 9\.9: install the driver's versions"):
        Node(versions() | {"torch": "9.9"})


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'unvanish\[ray\]'"):
        RayCluster(1)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "x",
        "local",
        "ray://127.0.0.1:10001",
        "127.0.0.1:1",
        "127.0.0.1:99999999999",
        f"{'a' * 300}:1",
        "\udcff:1",
        "[::1]:1",
    ],
)
def test_where_no_cluster_can_be_is_told(address):
    with pytest.raises(ClusterError, match=r"no (address of a )?Ray cluster"):
        reach(address)


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr("unvanish.study.executors.cluster.CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ClusterError, match="timed out"):
        reach(f"127.0.0.1:{silent.getsockname()[1]}")


class Dying(Here):
    """After so many messages, a number for each place; the first of a job's messages says where it is."""

    def __init__(self, *after: int) -> None:
        super().__init__(dies_after=after[0])
        self.after = list(after[1:])

    def spawn(self):
        super().spawn()
        self.dies_after = self.after.pop(0) if self.after else None
        return self


@pytest.mark.parametrize(
    ("after", "ends"),
    [
        ((2, 3, 3, 4, 4, 5), "finished"),
        ((3, 3, 3), "failed"),
        ((1, 1, 1), "failed"),
        ((3, 2, 1), "finished"),
        ((3, 1, 1), "finished"),
        ((3, 1, 1, 1), "failed"),
    ],
)
def test_a_run_is_given_up_where_its_places_die_at_the_same_epoch(tmp_path, small, after, ends):
    record = trained(tmp_path, small.but(epochs=8), Dying(*after))
    assert record.outcome.state == ends
