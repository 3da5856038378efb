"""Files that are either there whole or not at all, and their names, which come from the run and from nothing else."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from unvanish.core.errors import StoreError
from unvanish.core.record import Epoch


def checkpoint_name(digest: str, last: Epoch) -> str:
    """Of the checkpoint after that epoch, in the store's folder."""
    return f"checkpoints/{_short(digest)}-{last.stage}-{last.epoch}.safetensors"


def weights_name(digest: str) -> str:
    return f"weights/{_short(digest)}.safetensors"


def is_ours(name: str, digests: Iterable[str]) -> bool:
    """Whether a file may be one that a writer of these runs has made, or has half made.

    >>> is_ours("weights/0123456789abcdef.safetensors.part", ["0123456789abcdef" * 4])
    True
    >>> is_ours("weights/my_model.pt", ["0123456789abcdef" * 4])
    False
    """
    pattern = r"(?:checkpoints/([0-9a-f]{16})-\d+-\d+|weights/([0-9a-f]{16}))\.safetensors(?:\.part)?"
    found = re.fullmatch(pattern, name)
    return found is not None and (found[1] or found[2]) in {digest[:16] for digest in digests}


def _short(digest: str) -> str:
    if re.fullmatch("[0-9a-f]{64}", digest) is None:
        raise StoreError(f"{digest!r} is no digest of a run: the store's database was altered")
    return digest[:16]


def write_whole(path: Path, content: bytes) -> None:
    """Write, flush to disk, then rename: after a crash the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
