"""IDX files, as the owners of MNIST, FashionMNIST, KMNIST and EMNIST publish them, plain or packed with gzip.

0, 0, type (8: unsigned byte), number of dimensions, each dimension as a big-endian int32, then the values
"""

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unvanish.core.errors import DataError
from unvanish.data.images import DataSet

UNSIGNED_BYTE = 8
FILE = re.compile(r"(?P<set>.*?)-?(?P<part>train|test|t10k)-(?P<what>images|labels)[-.]idx[13]-ubyte(\.gz)?")
PARTS = (("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels"))


def idx_folder(folder: Path) -> DataSet:
    """The data set of a folder of four IDX files; of a folder that holds several, `folder/NAME` names one of them.

    EMNIST's folder has `emnist-balanced-train-images-idx3-ubyte.gz` and so on: `folder/emnist-balanced`.
    Raises `DataError` where files are missing or are not what they should be.
    """
    chosen = "" if folder.is_dir() else folder.name
    place = folder if folder.is_dir() else folder.parent
    found = _files(place)
    if chosen and chosen not in found:
        raise DataError(f"{folder} is no folder, and {_there(place, found)}")
    if not chosen and len(found) > 1:
        raise DataError(f"{_there(place, found)}: name one of them, as {place / min(found)}")
    name = chosen or next(iter(found), "")
    files = found.get(name, {})
    missing = ["-".join(part) for part in PARTS if part not in files]
    if missing:
        raise DataError(
            f"{place} lacks {', '.join(missing)}: four IDX files are needed, named as "
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, "
            "each plain or with .gz"
        )
    read = [read_idx(files[part]) for part in PARTS]
    return DataSet.of((read[0], read[1]), (read[2], read[3]), name or place.resolve().name or "data")


def read_idx(path: Path) -> Tensor:
    """The values of an IDX file of unsigned bytes. Raises `DataError` where it is none, or is cut off."""
    content = unpacked(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTE:
        raise DataError(f"{path} is no IDX file of unsigned bytes")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{path} is cut off in its header")
    shape = struct.unpack(f">{content[3]}i", content[4:start])
    if min(shape, default=0) <= 0 or len(content) - start != math.prod(shape):
        raise DataError(f"{path} says that it has {'×'.join(map(str, shape))} values, and has {len(content) - start:,}")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())


def unpacked(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise DataError(f"{path} is not a file")
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _files(place: Path) -> dict[str, dict[tuple[str, str], Path]]:
    """By the name of the set (empty for MNIST's own names), and by part."""
    found: dict[str, dict[tuple[str, str], Path]] = {}
    for path in sorted(place.glob("*idx*")):
        match = FILE.fullmatch(path.name)
        if match:
            part = "train" if match["part"] == "train" else "test"
            found.setdefault(match["set"], {}).setdefault((part, match["what"]), path)
    return found


def _there(place: Path, found: dict[str, dict[tuple[str, str], Path]]) -> str:
    return f"{place} holds the sets {', '.join(sorted(found))}" if found else f"{place} holds no IDX files"
