"""Files that users name: looked at before the work that they are for, written whole or not at all."""

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO
from unicodedata import category

from unvanish.core.errors import OutputError


def check_writable(path: str | Path) -> None:
    """Raise `OutputError` where no file can be made; its folder is made if need be."""
    with _in_sentences(path) as path:
        with suppress(FileNotFoundError):
            path.stat()  # a name that no file can have is refused
        if path.is_dir():
            raise OutputError(f"{path} cannot be written: it is a folder; name a file in it")
        if _is_device(path):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def write_output(path: str | Path, content: str | bytes) -> None:
    """Write a file. Raises `OutputError` where that fails; what was there before is there then."""
    with _in_sentences(path) as path:
        content = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
        if _is_device(path):
            with path.open("wb") as file:
                file.write(content)
        else:
            write_whole(path.resolve(), content)


def printable(text: str) -> str:
    """With the codes of control characters in place of them: in a terminal they are commands, in XML they are refused.

    >>> printable("name\\x1b[2J")
    'name\\\\x1b[2J'
    """
    if text.isprintable():  # nearly all are, and this is much faster
        return text
    hidden = ("Cc", "Cf", "Cs")  # control and format characters, and what is no character
    return "".join(c if c in "\n\t" or category(c) not in hidden else ascii(c)[1:-1] for c in text)


def not_a_formula(cell: str) -> str:
    """A text of a table that a spreadsheet would run, with the apostrophe that makes it a text.

    >>> not_a_formula("=1+1"), not_a_formula("2")
    ("'=1+1", '2')
    """
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


@contextmanager
def opened_output(path: str | Path) -> Iterator[TextIO]:
    """The same for a file that is written piece by piece."""
    with _in_sentences(path) as path:
        if _is_device(path):
            with path.open("w", newline="") as file:
                yield file
            return
        with (
            _replacing(path.resolve()) as replacing,
            io.TextIOWrapper(replacing, encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            yield file
            file.flush()


def write_whole(path: Path, content: bytes) -> None:
    """Write, flush to disk, then rename: after a crash the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as file:
        file.write(content)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file beside it, which takes its place when the block ends; never one that is there already, or a link."""
    start = os.fsencode(path.name)[:200].decode("utf-8", "ignore")
    partial = path.with_name(f"{start}.{os.getpid()}.part")
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        with os.fdopen(file, "wb", closefd=False) as opened:
            yield opened
        os.fsync(file)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_device(path: Path) -> bool:
    """A device or a pipe is written to, and not replaced by a file."""
    return path.exists() and not path.is_file()


@contextmanager
def _in_sentences(path: str | Path) -> Iterator[Path]:
    if not str(path):
        raise OutputError("an empty name names no file")
    try:
        yield Path(path)
    except (OSError, ValueError) as error:
        if isinstance(error, BrokenPipeError):  # a reader that has read enough
            raise
        raise OutputError(f"{path} cannot be written ({getattr(error, 'strerror', None) or error})") from error
