"""Files that are either there whole or not at all, and their names, which come from the run and from nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

from safetensors import SafetensorError

from unvanish.core.errors import DamagedError, StoreError
from unvanish.core.output import write_whole
from unvanish.core.serialisation import unpack
from unvanish.store.checksums import of_bytes
from unvanish.store.sentences import in_sentences

FOLDERS = ("checkpoints", "weights")
DIGEST = re.compile("[0-9a-f]{64}")
OURS = re.compile(r"([0-9a-f]{16})(?:-(\d+)-(\d+))?\.safetensors(\.(\d+\.)?part)?")


def checkpoint_name(digest: str, stage: int, epoch: int) -> str:
    """Of the checkpoint after that epoch, in the store's folder. Raises `DamagedError` where these are no numbers."""
    if type(stage) is not int or type(epoch) is not int or min(stage, epoch) < 0:  # SQLite keeps a text in any column
        raise DamagedError("the number of its checkpoint is not one")
    return f"checkpoints/{_short(digest)}-{stage}-{epoch}.safetensors"


def weights_name(digest: str) -> str:
    return f"weights/{_short(digest)}.safetensors"


def _short(digest: str) -> str:
    if DIGEST.fullmatch(digest) is None:
        raise StoreError(f"{digest!r} is no digest of a run: the store's database was altered")
    return digest[:16]


def refuse_foreign(folder: Path, files: tuple[str, ...], numbers: tuple[str, ...]) -> None:
    """Raise `StoreError` where something else stands at a name of ours, before anything is written.

    numbers   files that hold nothing but the number of a process
    """
    for name in (*files, *numbers, *FOLDERS):
        if (folder / name).is_symlink():
            raise StoreError(f"{folder / name} is a link, and a store writes to no other place; name another folder")
    for name in numbers:
        path = folder / name
        if path.exists() and (not path.is_file() or not re.fullmatch(rb"\d*\n?", path.read_bytes()[:32])):
            raise StoreError(f"{path} is not a store's file, and is left as it is; name another folder with --store")


class Files:
    """The files of a store by name, in its folder or in memory."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._contents: dict[str, bytes] = {}  # in place of the folder, in memory

    def write(self, name: str, content: bytes) -> None:
        if self._folder is None:
            self._contents[name] = content
        else:
            write_whole(self._folder / name, content)

    def read(self, name: str, checksum: str | None) -> bytes:
        """Raises `DamagedError` where the file is not there any more, or is another than was kept."""
        with in_sentences(self._folder):
            try:
                content = self._content(name)
            except (KeyError, FileNotFoundError):
                raise DamagedError(f"its file {name} is missing") from None
        if of_bytes(content) != checksum:
            raise DamagedError(f"its file {name} is not what was written")
        return content

    def checksum(self, name: str) -> str | None:
        """Of a file as it is; `None` where it is none of safetensors."""
        try:
            content = self._content(name)
            unpack(content)
        except (KeyError, OSError, ValueError, SafetensorError, DamagedError):
            return None
        return of_bytes(content)

    def _content(self, name: str) -> bytes:
        if self._folder is None:
            return self._contents[name]
        path = self._folder / name
        if not S_ISREG(path.lstat().st_mode):  # a pipe would never end, and a link leads elsewhere
            raise DamagedError(f"its file {name} is not an ordinary file")
        return path.read_bytes()

    def remove(self, name: str) -> None:
        if self._folder is None:
            self._contents.pop(name, None)
        else:
            (self._folder / name).unlink(missing_ok=True)

    def remove_of(self, digest: str) -> None:
        """Whatever there is of a run."""
        for name in list(self._names()):
            if Path(name).name.startswith(_short(digest)):
                self.remove(name)

    def _names(self) -> Iterator[str]:
        """Files under names of ours."""
        if self._folder is None:
            yield from self._contents
            return
        for kind in FOLDERS:
            for path in (self._folder / kind).glob("*"):
                if OURS.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                    yield f"{kind}/{path.name}"

    def of_runs(self) -> Iterator[tuple[str, str]]:
        """Each with the start of its run's digest."""
        for name in self._names():
            yield name, Path(name).name[:16]
