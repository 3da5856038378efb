"""MNIST and KMNIST, as their owners publish them: four IDX files packed with gzip, verified by their SHA-256 sums.

MNIST: LeCun, Bottou, Bengio & Haffner 1998. KMNIST: Clanuwat et al. 2018, "Deep learning for classical Japanese
literature". The sums are of the packed files.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from unvanish.core.errors import DataError
from unvanish.core.machine import cache_folder
from unvanish.data import sources
from unvanish.data.idx import idx_folder
from unvanish.data.images import DataSet


@dataclass(frozen=True)
class Packed:
    """Where the files are published, and each file's SHA-256 sum and bytes."""

    mirrors: tuple[str, ...]
    files: dict[str, tuple[str, int]]


PACKED = {
    "mnist": Packed(
        (
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        {
            "train-images-idx3-ubyte.gz": (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                9_912_422,
            ),
            "train-labels-idx1-ubyte.gz": (
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                28_881,
            ),
            "t10k-images-idx3-ubyte.gz": (
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                1_648_877,
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                4_542,
            ),
        },
    ),
    "kmnist": Packed(
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        {
            "train-images-idx3-ubyte.gz": (
                "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
                18_165_135,
            ),
            "train-labels-idx1-ubyte.gz": (
                "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
                29_497,
            ),
            "t10k-images-idx3-ubyte.gz": (
                "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
                3_041_136,
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
                5_120,
            ),
        },
    ),
}


def packed(name: str) -> DataSet:
    """The data set, from the cache or a mirror. Raises `DataError` where no mirror has it."""
    known, cache = PACKED[name], cache_folder(name)
    if not _all_intact(known, cache):
        try:
            with sources.writable(cache), FileLock(cache / "lock"):
                for file, (checksum, size) in known.files.items():
                    if not _intact(cache / file, checksum):
                        sources.write(cache / file, _fetched(name, file, checksum, size))
        except OSError as error:
            raise DataError(f"the cache {cache} cannot be written ({error.strerror}); set XDG_CACHE_HOME") from error
    return replace(idx_folder(cache), name=name)


def _all_intact(known: Packed, cache: Path) -> bool:
    return all(_intact(cache / file, checksum) for file, (checksum, _) in known.files.items())


def _intact(path: Path, checksum: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == checksum


def _fetched(name: str, file: str, checksum: str, size: int) -> bytes:
    tried = []
    for mirror in PACKED[name].mirrors:
        try:
            content = sources.downloaded(f"{mirror}{file}", size)
        except (OSError, ValueError) as error:  # those of requests are OSErrors
            tried.append(f"{mirror}: {sources.in_brief(error)}")
            continue
        if hashlib.sha256(content).hexdigest() == checksum:
            return content
        tried.append(f"{mirror}: truncated or altered")
    raise DataError(
        f"{name} cannot be had ({'; '.join(tried)}). Put its four IDX files into a folder, and name the folder: --data "
        f"FOLDER, or uv.load_data('FOLDER')"
    )
