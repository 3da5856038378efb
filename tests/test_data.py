"""The data: real files, really damaged, really missing."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
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
