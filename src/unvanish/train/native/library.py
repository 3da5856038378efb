"""`kernels.c`, compiled when it is first needed and kept in the cache; without a compiler torch does the work."""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from unvanish.core.machine import cache_folder

SOURCE = Path(__file__).with_name("kernels.c")

# no -ffast-math: sums are vectorised by pragmas, and an infinite loss has to stay one
FLAGS = ("-O3", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")

# what torch found that the processor can do, and not -march=native: a cache may be shared by several machines
VECTORS = {
    "AVX2": ("-mavx2", "-mfma"),
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512", "-mavx2", "-mfma"),
}

log = logging.getLogger("unvanish")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or `None` where they cannot be had: why is logged.

    `$CC` names the compiler, else it is `cc`. With `$UNVANISH_KERNELS=off` there are none.
    """
    if os.environ.get("UNVANISH_KERNELS") == "off":
        return None
    try:
        return _declared(ctypes.CDLL(str(_compiled())))
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()
        log.info("no compiled kernels, so measuring takes longer: %s", reason[0] if reason else error)
    except (OSError, ValueError, AttributeError, subprocess.TimeoutExpired) as error:
        # no compiler, no cache, a folder from which nothing may be loaded, options that hide the functions
        log.info("no compiled kernels, so measuring takes longer: %s", error)
    return None


def _declared(kernels: ctypes.CDLL) -> ctypes.CDLL:
    pointer, count, single = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    for function, arguments in (
        (kernels.pick, (pointer, pointer, count, count, pointer)),
        (kernels.survey, (pointer, count, count, single, single, pointer)),
        (kernels.spread, (pointer, count, count, pointer)),
        (kernels.change, (pointer, pointer, count, pointer)),
    ):
        function.argtypes, function.restype = arguments, None
    return kernels


def _compiled() -> Path:
    vectors = VECTORS.get(torch.backends.cpu.get_cpu_capability(), ())
    command = [*shlex.split(os.environ.get("CC") or "cc"), *FLAGS, *vectors]
    system = (sys.platform, platform.machine(), platform.libc_ver())
    key = _digest(SOURCE.read_bytes() + repr((command, system)).encode())
    folder = cache_folder("kernels")
    for kept in folder.glob(f"{key}-*.so"):
        if kept.stem == f"{key}-{_digest(kept.read_bytes())}":  # loading a truncated one would kill the process
            return kept
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as workshop:
        new = Path(workshop) / "kernels.so"
        subprocess.run(
            [*command, str(SOURCE), "-o", str(new), "-lm"],
            check=True, capture_output=True, text=True, errors="replace", timeout=60,
        )  # fmt: skip
        # workers that compile at the same time each put the same file there
        return new.replace(folder / f"{key}-{_digest(new.read_bytes())}.so")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
