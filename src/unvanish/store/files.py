"""The files of a store: their names, which come from the run and from nothing else, and what is asked of them."""

import re
from typing import Protocol

from safetensors import SafetensorError

from unvanish.core.errors import DamagedError, StoreError
from unvanish.core.serialisation import unpack
from unvanish.store.checksums import of_bytes

FOLDERS = ("checkpoints", "weights")
DIGEST = re.compile("[0-9a-f]{64}")
SHORT = 16  # digits of a digest that begin the names of its run's files


class Files(Protocol):
    """By name, within a transaction."""

    def write(self, name: str, content: bytes) -> None: ...

    def read(self, name: str) -> bytes:
        """Raises `KeyError` where it is not there, and `DamagedError` where what is there is no file."""
        ...

    def remove(self, name: str) -> None: ...

    def of_run(self, digest: str) -> list[str]:
        """The names of whatever there is of a run."""
        ...


def checkpoint_name(digest: str, stage: int, epoch: int) -> str:
    """Of the checkpoint after that epoch, in the store's folder. Raises `DamagedError` where these are no numbers."""
    if type(stage) is not int or type(epoch) is not int or min(stage, epoch) < 0:  # SQLite keeps a text in any column
        raise DamagedError("the number of its checkpoint is not one")
    return f"checkpoints/{short(digest)}-{stage}-{epoch}.safetensors"


def weights_name(digest: str) -> str:
    return f"weights/{short(digest)}.safetensors"


def short(digest: str) -> str:
    """Raises `StoreError` where this is no digest, and so could lead to other files."""
    if DIGEST.fullmatch(digest) is None:
        raise StoreError(f"{digest!r} is no digest of a run: the store's database was altered")
    return digest[:SHORT]


def read_intact(files: Files, name: str, checksum: str | None) -> bytes:
    """Raises `DamagedError` where the file is not there any more, or is another than was kept."""
    try:
        content = files.read(name)
    except KeyError:
        raise DamagedError(f"its file {name} is missing") from None
    if of_bytes(content) != checksum:
        raise DamagedError(f"its file {name} is not what was written")
    return content


def checksum_of(files: Files, name: str) -> str | None:
    """Of a file as it is; `None` where it is none of safetensors."""
    try:
        content = files.read(name)
        unpack(content)
    except (KeyError, OSError, ValueError, SafetensorError, DamagedError):
        return None
    return of_bytes(content)
