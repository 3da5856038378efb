"""Where FashionMNIST comes from, in order, and how its files are verified.

1. `$UNVANISH_DATA`   2. the cache   3. Debian's folder   4. the public mirrors   5. Debian's package

What is verified is the uncompressed IDX file: Debian re-compresses, so its gzip files differ from the
canonical ones while their content does not.
"""

import gzip
import hashlib
import io
import logging
import os
import shutil
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from unvanish.core.errors import DataError
from unvanish.core.machine import cache_folder

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

SHA256 = {
    TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
LENGTHS = {TRAIN_IMAGES: 47_040_016, TRAIN_LABELS: 60_008, TEST_IMAGES: 7_840_016, TEST_LABELS: 10_008}  # bytes

DEBIAN_PACKAGE = "dataset-fashion-mnist"
IN_PACKAGE = Path("usr/share/datasets/fashion-mnist")
DEBIAN_FOLDER = Path("/") / IN_PACKAGE
MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
MIRROR_TIMEOUTS_S = (5, 10)  # to connect, and between two packets
SLOWEST, AFTER_S = 20_000, 10.0  # bytes a second on average: a mirror that gives less from then on is given up

log = logging.getLogger("unvanish")


def locate() -> dict[str, Path]:
    """The four uncompressed, verified IDX files by name; fetched into the cache if need be."""
    cache = cache_folder("fashion-mnist")
    own = os.environ.get("UNVANISH_DATA")
    if own and (found := _own_files(Path(own))):
        return found
    files = {name: cache / name for name in SHA256}
    if all(_intact(path) for path in files.values()):  # also where the cache is read-only
        return files
    try:
        with writable(cache), FileLock(cache / "lock"):  # a second process waits here and then finds the files
            missing = [name for name, path in files.items() if not _verified(path)]
            if missing:
                _fetch(missing, cache, Path(own) if own else None)
    except OSError as error:
        raise DataError(
            f"the cache {cache} cannot be written ({error.strerror}); set XDG_CACHE_HOME or UNVANISH_DATA to a folder "
            "with room for 55 MB"
        ) from error
    return files


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """A folder of the cache, made if need be, and refused where others may write to it.

    Whoever may could have a file of ours put anywhere, through a link.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        raise DataError(
            f"the cache {folder} belongs to someone else, or others may write to it: `chmod 700 {folder}`, or set "
            "XDG_CACHE_HOME to a folder of your own"
        )
    yield


def _own_files(folder: Path) -> dict[str, Path] | None:
    """The user's own files, where all four lie there uncompressed and intact."""
    files = {name: folder / name for name in SHA256}
    if not folder.is_dir():
        log.warning("UNVANISH_DATA=%s is not a folder; looking elsewhere", folder)
        return None
    for path in files.values():
        if path.exists() and not _intact(path):
            log.warning("%s is truncated or altered; it is left alone, and fetched from elsewhere", path)
            return None
    return files if all(path.exists() for path in files.values()) else None


def _verified(path: Path) -> bool:
    """Whether the cached file is intact. One that is not is named and set aside."""
    if not path.exists() or _intact(path):
        return path.exists()
    aside = path.with_name(path.name + ".damaged")
    path.replace(aside)
    log.warning("%s is truncated or altered; set aside as %s and fetched again", path, aside.name)
    return False


def _intact(path: Path) -> bool:
    """Of a device or a pipe nothing is read, which might never end."""
    return path.is_file() and path.stat().st_size == LENGTHS[path.name] and _sha256(path) == SHA256[path.name]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(missing: list[str], cache: Path, own: Path | None) -> None:
    """Put verified files into the cache, each from the first source that has it."""
    tried: list[str] = []
    with tempfile.TemporaryDirectory(dir=cache) as workshop:
        for source, read in _sources(Path(workshop), own):
            for name in list(missing):
                try:
                    content = read(name)
                except (OSError, EOFError, zlib.error, ValueError, subprocess.SubprocessError) as error:
                    tried.append(f"{source}: {in_brief(error)}")
                    break  # what fails for one file fails for the next; the next source may not
                if hashlib.sha256(content).hexdigest() != SHA256[name]:
                    log.warning("%s from %s is truncated or altered; trying the next source", name, source)
                    tried.append(f"{source}: truncated or altered")
                    continue
                write(cache / name, content)
                missing.remove(name)
            if not missing:
                return
    raise DataError(
        f"FashionMNIST cannot be had: install Debian's package {DEBIAN_PACKAGE}, or put the data set's four files "
        f"into a folder and set UNVANISH_DATA to it ({', '.join(missing)} missing; tried {'; '.join(tried)})"
    )


def _sources(workshop: Path, own: Path | None) -> Iterator[tuple[str, Callable[[str], bytes]]]:
    for folder in filter(None, (own, DEBIAN_FOLDER)):
        if folder.is_dir():
            yield str(folder), lambda name, folder=folder: _read_from(folder, name)
    for mirror in MIRRORS:
        yield mirror, lambda name, mirror=mirror: _download(mirror, name)
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        yield "apt-get download", lambda name: _read_from(_debian_package(workshop), name)


def _read_from(folder: Path, name: str) -> bytes:
    """No more than the file has, whatever is there: a device has no end, and a packed file may be of any size."""
    plain, packed = folder / name, folder / f"{name}.gz"
    path = plain if plain.exists() else packed
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file")
    with plain.open("rb") if plain.exists() else gzip.open(packed) as file:
        return file.read(LENGTHS[name] + 1)


def _download(base: str, name: str) -> bytes:
    """The unpacked file; packed, it is smaller."""
    content = io.BytesIO(downloaded(f"{base}{name}.gz", LENGTHS[name]))
    return gzip.GzipFile(fileobj=content).read(LENGTHS[name] + 1)


def downloaded(url: str, most: int) -> bytes:
    """At most so many bytes. Raises `OSError` where the mirror is slow, silent or sends something else."""
    import requests

    content, began = io.BytesIO(), time.monotonic()
    with requests.get(url, stream=True, timeout=MIRROR_TIMEOUTS_S) as answer:
        answer.raise_for_status()
        for piece in answer.iter_content(1 << 16):
            content.write(piece)
            seconds = time.monotonic() - began
            if seconds > AFTER_S and content.tell() < SLOWEST * seconds:
                raise TimeoutError(f"{content.tell()} bytes in {seconds:.0f} s")
            if content.tell() > most:
                raise ValueError("larger than the data set")
    return content.getvalue()


def _debian_package(workshop: Path) -> Path:
    """Debian's package, downloaded and unpacked without being installed, which needs no root; its data folder."""
    data = workshop / IN_PACKAGE
    if not data.is_dir():
        try:
            _run("apt-get", "download", DEBIAN_PACKAGE, cwd=workshop)
        except subprocess.CalledProcessError:
            if os.geteuid() != 0:
                raise
            _run("apt-get", "update", cwd=workshop)  # the package lists may be missing
            _run("apt-get", "download", DEBIAN_PACKAGE, cwd=workshop)
        (package,) = workshop.glob("*.deb")
        _run("dpkg-deb", "-x", package.name, ".", cwd=workshop)
    return data


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=300)


def write(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(
            f"{path} cannot be written ({error.strerror}); make room, or set XDG_CACHE_HOME to another folder"
        ) from error


def in_brief(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {error.returncode}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:120].removesuffix(": ")
