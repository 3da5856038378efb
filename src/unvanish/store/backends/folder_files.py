"""Files in a store's folder, which are either there whole or not at all."""

import re
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

from unvanish.core.errors import DamagedError, StoreError
from unvanish.core.output import write_whole
from unvanish.store.files import FOLDERS, SHORT, short

OURS = re.compile(rf"([0-9a-f]{{{SHORT}}})(?:-(\d+)-(\d+))?\.safetensors(\.(\d+\.)?part)?")


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


class FilesInFolder:
    """`Files` within one transaction: one is there before the row that names it, and gone after it is named no more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unneeded: list[str] = []

    def write(self, name: str, content: bytes) -> None:
        write_whole(self._folder / name, content)

    def read(self, name: str) -> bytes:
        path = self._folder / name
        try:
            mode = path.lstat().st_mode
            if not S_ISREG(mode):  # a pipe would never end, and a link leads elsewhere
                raise DamagedError(f"its file {name} is not an ordinary file")
            return path.read_bytes()
        except FileNotFoundError:
            raise KeyError(name) from None

    def remove(self, name: str) -> None:
        self._unneeded.append(name)

    def of_run(self, digest: str) -> list[str]:
        start = short(digest)
        return [name for name in self.names() if Path(name).name.startswith(start)]

    def settle(self) -> None:
        """The transaction is committed: remove what was to be removed."""
        for name in self._unneeded:
            (self._folder / name).unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """Files under names of ours."""
        for kind in FOLDERS:
            for path in (self._folder / kind).glob("*"):
                if OURS.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                    yield f"{kind}/{path.name}"
