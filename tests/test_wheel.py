"""The wheel: built, installed into an empty environment, and used there."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*words: object, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_works_in_an_empty_environment(tmp_path):
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
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
    out = run(command, "reproduce", "4a", "--epochs", "1", "--figures", "figures", cwd=tmp_path)
    assert out.splitlines()[-1] == "unvanish-runs/report.html"
    assert (tmp_path / "unvanish-runs" / "report.html").exists()
    assert (tmp_path / "figures" / "accuracy.png").exists()
