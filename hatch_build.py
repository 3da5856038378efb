"""When the package is installed, builds the lessons' notebooks and compiles the native step.

Without a compiler the package works, only slower.
"""

import os
import platform
import runpy
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/unvanish/train/native")
LESSONS = Path("src/unvanish/lessons")
# No -ffast-math: NaN and infinity have to pass through. No -march=native: step.c has several versions of its loops.
FLAGS = (
    *("-O3", "-std=gnu11", "-fopenmp-simd", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
    *("-fno-semantic-interposition", "-shared", "-fPIC"),
)
ON_X86 = ("-mprefer-vector-width=512",)  # where a version has such vectors: compilers prefer half of them


class BuiltFiles(BuildHookInterface[Any]):
    """`UNVANISH_NATIVE=required`, as for a release, fails where it cannot be compiled; `off` does not try."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        editable = version == "editable"  # then the package is used where its sources lie
        self.scratch = tempfile.TemporaryDirectory()
        self.build_lessons(editable, build_data)
        self.compile_native_step(editable, build_data)

    def build_lessons(self, editable: bool, build_data: dict[str, Any]) -> None:
        build = runpy.run_path(str(Path(self.root) / "lessons" / "build.py"))["build"]
        for path in build(Path(self.root) / LESSONS if editable else Path(self.scratch.name) / "lessons"):
            if not editable:
                build_data["force_include"][str(path)] = f"unvanish/lessons/{path.name}"

    def compile_native_step(self, editable: bool, build_data: dict[str, Any]) -> None:
        target = (Path(self.root) / FOLDER if editable else Path(self.scratch.name)) / "_step.so"
        target.unlink(missing_ok=True)
        wanted = os.environ.get("UNVANISH_NATIVE", "")
        if wanted == "off":
            return
        compiler = shlex.split(os.environ.get("CC") or "cc")
        flags = (*FLAGS, *(ON_X86 if platform.machine().lower() in ("x86_64", "amd64") else ()))
        source = Path(self.root) / FOLDER / "step.c"
        digest = runpy.run_path(str(Path(self.root) / FOLDER / "sources.py"))["digest"]()
        flags = (*flags, f'-DSOURCES="{digest}"')
        try:
            subprocess.run([*compiler, *flags, str(source), "-o", str(target), "-lm"], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            if wanted == "required":
                raise
            print(f"unvanish is installed without its native step: {error}", file=sys.stderr)
            return
        if not editable:
            build_data["force_include"][str(target)] = "unvanish/train/native/_step.so"
        build_data["pure_python"] = False  # but of any Python: it is loaded by ctypes
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self.scratch.cleanup()
