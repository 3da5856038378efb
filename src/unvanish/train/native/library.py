"""step.c as it was compiled when the package was installed, and the matrix product of the BLAS that PyTorch brings."""

import ctypes
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from unvanish.train.native.sources import digest

LIBRARY = Path(__file__).with_name("_step.so")


@dataclass(frozen=True)
class Library:
    """`steps` and `evaluate` are the functions of step.c; `gemm` is the address of `sgemm_`."""

    code: ctypes.CDLL
    gemm: int


def loaded() -> Library | str:
    """The library, or why there is none."""
    return "UNVANISH_NATIVE=off" if os.environ.get("UNVANISH_NATIVE") == "off" else _load()


@functools.cache
def _load() -> Library | str:
    if not LIBRARY.exists():
        return "it was not compiled at installation: install unvanish again where there is a C compiler"
    try:
        code = ctypes.CDLL(str(LIBRARY))
        compiled_from = (ctypes.c_char * 65).in_dll(code, "SOURCES_DIGEST").value.decode()
        blas = ctypes.CDLL(str(_torch_library()))
    except (OSError, ValueError) as error:
        return f"it cannot be loaded: {error}"
    if compiled_from != digest():
        return "it was compiled from other sources: install unvanish again"
    if not hasattr(blas, "sgemm_"):
        return f"the libraries of torch {torch.__version__} export no sgemm_"
    gemm = ctypes.cast(blas.sgemm_, ctypes.c_void_p).value
    pointer = ctypes.c_void_p
    code.steps.argtypes, code.steps.restype = [pointer] * 6, None
    code.evaluate.argtypes, code.evaluate.restype = [pointer] * 4, None
    assert gemm is not None
    return Library(code, gemm)


def _torch_library() -> Path:
    name = {"darwin": "libtorch_cpu.dylib", "win32": "torch_cpu.dll"}.get(sys.platform, "libtorch_cpu.so")
    return Path(torch.__file__).parent / "lib" / name


def missing() -> str | None:
    """Why there is no native step; `None` where there is one."""
    found = loaded()
    return found if isinstance(found, str) else None
