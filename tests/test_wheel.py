"""The wheel: built, installed into an empty environment, and used there; and the native step, by other compilers."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from unvanish.train.native.sources import digest

ROOT = Path(__file__).parents[1]


def run(*words: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(folder: Path, **environment: str) -> Path:
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder, **environment)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.mark.slow
def test_it_works_in_an_empty_environment(tmp_path):
    wheel = built(tmp_path, UNVANISH_NATIVE="required")
    assert wheel.name.startswith("unvanish-")
    assert "-py3-none-" in wheel.name  # of any Python, and one platform
    assert not wheel.name.endswith("-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    package = ROOT / "src" / "unvanish"
    written = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {str(path.relative_to(package.parent)) for path in written} <= set(names)
    assert len({path.suffix for path in written}) > 3  # templates, kernels and stubs too
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs"))]

    run(sys.executable, "-m", "venv", "empty", cwd=tmp_path)
    python = tmp_path / "empty" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    command = tmp_path / "empty" / "bin" / "unvanish"
    assert "Usage: unvanish" in run(command, "--help", cwd=tmp_path)
    assert "native step: compiled" in run(command, "--version", cwd=tmp_path)
    out = run(command, "reproduce", "4a", "--epochs", "1", "--figures", "figures", cwd=tmp_path)
    assert out.splitlines()[-1] == "unvanish-runs/report.html"
    assert (tmp_path / "unvanish-runs" / "report.html").exists()
    assert (tmp_path / "figures" / "accuracy.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment", [{"CC": "no-such-compiler"}, {"CC": "false"}, {"UNVANISH_NATIVE": "off"}], ids=str
)
def test_without_a_compiler_the_package_is_built_and_a_release_is_not(environment, tmp_path):
    wheel = built(tmp_path, **environment)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]
    if "CC" in environment:
        with pytest.raises(AssertionError, match=r"no-such-compiler|step\.c"):
            built(tmp_path, UNVANISH_NATIVE="required", **environment)


FLAGS = (
    f'-DSOURCES="{digest()}"',
    "-O2",
    "-g",
    "-std=gnu11",
    "-fopenmp-simd",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-shared",
    "-fPIC",
)
THESE_TESTS = """
import sys
from pathlib import Path
import pytest
import unvanish.train.native.library as library
library.LIBRARY = Path(sys.argv[1])
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_native_step_by_another_compiler(compiler, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    library = tmp_path / "step.so"
    source = ROOT / "src" / "unvanish" / "train" / "native" / "step.c"
    warnings = ("-Wall", "-Wextra", "-Werror", "-O3")
    run(compiler, *FLAGS, *warnings, source, "-o", library, "-lm", cwd=tmp_path)
    said = run(sys.executable, "-c", THESE_TESTS, library, ROOT / "tests" / "test_native.py", cwd=tmp_path)
    assert " passed" in said
    assert "skipped" not in said


@pytest.mark.slow
def test_no_memory_error_and_nothing_undefined(tmp_path):
    """AddressSanitizer and UndefinedBehaviorSanitizer over all shapes, recipes and trainings."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library, runtime = tmp_path / "step.so", run("gcc", "-print-file-name=libasan.so", cwd=tmp_path).strip()
    source = ROOT / "src" / "unvanish" / "train" / "native" / "step.c"
    sanitize = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DVERSIONS=")
    run("gcc", *FLAGS, *sanitize, source, "-o", library, "-lm", cwd=tmp_path)
    options = {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    these = (ROOT / "tests" / "test_native.py", "-k", "not says")
    said = run(sys.executable, "-c", THESE_TESTS, library, *these, cwd=tmp_path, **options)
    assert " passed" in said
    assert "skipped" not in said
