"""Files that users name: written whole or not at all, devices and pipes written through."""

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest

import unvanish as uv
from unvanish.core.output import check_writable, opened_output, printable, write_output


def test_a_file_is_replaced_whole(tmp_path):
    file = tmp_path / "deep" / "a.txt"
    write_output(file, "é")
    assert file.read_text() == "é"
    write_output(file, b"other")
    assert file.read_bytes() == b"other"
    assert [path.name for path in file.parent.iterdir()] == ["a.txt"]


def test_through_a_link_the_file_behind_it_is_written(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_output(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@pytest.mark.parametrize("name", ["", "folder", "file/x", "a" * 300, "a\x00b", "/proc/nothing/x"])
def test_what_cannot_be_written_is_a_sentence_before_and_after(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    path = os.fspath(tmp_path / name) if name else ""
    for write in (check_writable, lambda path: write_output(path, "x")):
        with pytest.raises(uv.OutputError, match=r"cannot be written|names no file"):
            write(path)
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this machine has no /dev/full")
def test_a_device_stays_one():
    check_writable("/dev/full")
    with pytest.raises(uv.OutputError, match="No space left"):
        write_output("/dev/full", "x")
    with pytest.raises(uv.OutputError, match="No space left"), opened_output("/dev/full") as file:
        file.write("x")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_pipe_is_written_through(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_output(pipe, "x")
    reader.join(10)
    assert got == ["x"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_fails_half_way_leaves_what_was_there(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("old")
    with suppress(ZeroDivisionError), opened_output(file) as opened:
        opened.write("half")
        raise ZeroDivisionError
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_control_characters_are_shown_by_their_codes():
    assert printable("a\x1b[2J\x07\u202eb\udcff") == "a\\x1b[2J\\x07\\u202eb\\udcff"
    assert printable("é ↑\n\tσ_w²") == "é ↑\n\tσ_w²"


@pytest.mark.parametrize("name", ["r.md", "c.csv", "é" * 120, "a" * 250])
def test_a_link_beside_the_file_is_not_followed(name, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for planted in (f"{name}.part", f".{name}.part", f"{name}.{os.getpid()}.part"):
        with suppress(OSError):  # too long
            (tmp_path / planted).symlink_to(precious)
    with suppress(uv.OutputError):
        write_output(tmp_path / name, "x")
    with suppress(uv.OutputError), opened_output(tmp_path / name) as file:
        file.write("x")
    assert precious.read_text() == "mine"


def test_the_longest_name_can_be_written(tmp_path):
    for name in ("a" * 255, "é" * 127):
        check_writable(tmp_path / name)
        write_output(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"
