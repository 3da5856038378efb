"""The data: real files, really damaged, really missing."""

import gzip
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

import unvanish as uv
from unvanish.data import sources
from unvanish.data.sources import SHA256, TEST_LABELS, TRAIN_IMAGES, locate

CLI = [sys.executable, "-m", "unvanish", "data"]


@pytest.fixture
def files(data) -> dict[str, Path]:
    """The intact files, wherever this machine keeps them."""
    return locate()


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """An empty cache, and no source but those that a test opens."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("UNVANISH_DATA", raising=False)
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", tmp_path / "no-debian")
    monkeypatch.setattr(sources, "MIRRORS", ("http://127.0.0.1:9/",))  # the discard port: refused at once
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return tmp_path


def folder_of(files, folder: Path, *, packed: bool) -> Path:
    folder.mkdir()
    for name, path in files.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes(), compresslevel=1))
        else:
            shutil.copy(path, folder / name)
    return folder


def test_it_is_fashion_mnist(data):
    assert data.train.pixels_ND.shape == (60_000, 784)
    assert data.test.pixels_ND.shape == (10_000, 784)
    assert torch.bincount(data.train.labels_N).tolist() == [6000] * 10
    assert torch.bincount(data.test.labels_N).tolist() == [1000] * 10
    mean = data.train.pixels_ND.float().mean().item() / 255
    assert mean == pytest.approx(0.2860, abs=5e-5)  # as published with the data set


def test_the_user_s_own_folder_comes_first(files, nowhere, monkeypatch):
    own = folder_of(files, nowhere / "own", packed=False)
    monkeypatch.setenv("UNVANISH_DATA", str(own))
    assert {path.parent for path in locate().values()} == {own}


def test_packed_files_of_one_s_own_are_unpacked_into_the_cache(files, nowhere, monkeypatch):
    monkeypatch.setenv("UNVANISH_DATA", str(folder_of(files, nowhere / "own", packed=True)))
    found = locate()
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[name] for name, path in found.items())
    assert {path.parent for path in found.values()} == {nowhere / "cache" / "unvanish" / "fashion-mnist"}


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_a_damaged_file_is_named_set_aside_and_fetched_again(damage, files, nowhere, monkeypatch, caplog):
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", folder_of(files, nowhere / "debian", packed=True))
    path = locate()[TEST_LABELS]
    content = bytearray(path.read_bytes())
    if damage == "altered":
        content[5000] ^= 1
    path.write_bytes({"truncated": content[:5000], "altered": content, "empty": b""}[damage])
    again = locate()[TEST_LABELS]
    assert hashlib.sha256(again.read_bytes()).hexdigest() == SHA256[TEST_LABELS]
    assert f"{path} is truncated or altered" in caplog.text
    assert path.with_name(path.name + ".damaged").exists()


def test_a_damaged_source_is_named_and_the_next_one_taken(files, nowhere, monkeypatch, caplog):
    own = folder_of(files, nowhere / "own", packed=False)
    (own / TRAIN_IMAGES).write_bytes((own / TRAIN_IMAGES).read_bytes()[:-1])
    monkeypatch.setenv("UNVANISH_DATA", str(own))
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", folder_of(files, nowhere / "debian", packed=True))
    assert len(locate()) == 4
    assert f"{own / TRAIN_IMAGES} is truncated or altered" in caplog.text


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def bomb(path: Path) -> None:
    """300 MB of zeros in 300 kB."""
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(bytes(300_000_000), compresslevel=1))


@pytest.mark.parametrize("put", [fifo, endless, folder, bomb])
def test_what_is_no_file_of_the_data_set_is_not_read_to_its_end(put, nowhere, monkeypatch):
    own = nowhere / "own"
    own.mkdir()
    for name in SHA256:
        put(own / name)
    monkeypatch.setenv("UNVANISH_DATA", str(own))
    began = time.monotonic()
    with pytest.raises(uv.DataError, match=re.escape(f"tried {own}")):
        locate()
    assert time.monotonic() - began < 20


@contextmanager
def mirror(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that takes every connection, and deals with it so."""
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
    finally:
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def silent(connection: socket.socket) -> None:
    connection.settimeout(30)
    connection.recv(1)  # until the other side gives up


def dripping(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1\r\nx\r\n")
        time.sleep(0.05)


def larger(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + gzip.compress(bytes(1000)))
    while True:
        connection.sendall(os.urandom(1 << 20))


@pytest.mark.parametrize(
    ("answer", "word"), [(silent, "ReadTimeout"), (dripping, "TimeoutError"), (larger, "larger than the data set")]
)
def test_a_mirror_that_is_dead_slow_or_endless_is_given_up(answer, word, nowhere, monkeypatch):
    monkeypatch.setattr(sources, "MIRROR_TIMEOUTS_S", (1, 1))
    monkeypatch.setattr(sources, "AFTER_S", 1.0)
    began = time.monotonic()
    with mirror(answer) as url:
        monkeypatch.setattr(sources, "MIRRORS", (url,))
        with pytest.raises(uv.DataError, match=word):
            locate()
    assert time.monotonic() - began < 15


@pytest.mark.skipif(os.name != "posix", reason="this system has no file modes")
def test_a_cache_that_others_may_write_to_is_refused(nowhere):
    cache = nowhere / "cache" / "unvanish" / "fashion-mnist"
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(uv.DataError, match="chmod 700"):
        locate()


def test_where_nothing_can_be_reached_one_sentence_says_what_to_do(nowhere):
    with pytest.raises(uv.DataError) as refusal:
        locate()
    message = str(refusal.value)
    assert "install Debian's package dataset-fashion-mnist" in message
    assert "set UNVANISH_DATA" in message
    assert "127.0.0.1:9" in message
    assert "\n" not in message


def test_a_mirror_is_a_source(files, nowhere, monkeypatch):
    """A real server on this machine, which has the files as the public mirrors have them."""
    served = folder_of(files, nowhere / "served", packed=True)
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", served],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert server.stdout
        port = server.stdout.readline().split("port ")[1].split()[0]
        monkeypatch.setattr(sources, "MIRRORS", ("http://127.0.0.1:9/", f"http://127.0.0.1:{port}/"))
        assert len(locate()) == 4
    finally:
        server.kill()
        server.communicate()


def test_two_processes_that_fetch_at_once_do_not_disturb_each_other(files, tmp_path):
    own = folder_of(files, tmp_path / "own", packed=True)
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "UNVANISH_DATA": str(own)}
    both = [subprocess.Popen(CLI, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0] == outputs[1]
    names = sorted(path.name for path in (tmp_path / "cache" / "unvanish" / "fashion-mnist").iterdir())
    assert names == sorted([*SHA256, "lock"])


def test_processes_share_one_copy_in_memory(data):
    """The images are pages of the file itself; reading all of them makes none of them private."""
    assert int(data.train.pixels_ND.sum()) > 0
    rows = Path("/proc/self/smaps").read_text().split("VmFlags")
    mapped = [row for row in rows if TRAIN_IMAGES in row]
    assert mapped
    private = sum(int(line.split()[1]) for row in mapped for line in row.splitlines() if "Private_Dirty" in line)
    assert private == 0


@pytest.mark.slow
def test_debian_s_package_is_the_last_source(nowhere, monkeypatch):
    monkeypatch.undo()
    if not shutil.which("apt-get"):
        pytest.skip("this machine has no apt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(nowhere / "cache"))
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", nowhere / "not-installed")
    monkeypatch.setattr(sources, "MIRRORS", ())
    found = locate()
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[name] for name, path in found.items())
    assert sorted(path.name for path in found[TRAIN_IMAGES].parent.iterdir()) == sorted([*SHA256, "lock"])
