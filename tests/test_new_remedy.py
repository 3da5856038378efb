"""A new remedy is one file and one line: a toy one is added to a copy of the package and used everywhere."""

import shutil
import subprocess
import sys
from pathlib import Path

import unvanish as uv

TOY = '''"""Toy: scale every weight draw.

    W <- c W

Limitations: none that a toy could have.
"""

from dataclasses import replace
from typing import ClassVar, final


from unvanish.core.errors import NothingToDo
from unvanish.core.remedy import Remedy
from unvanish.core.init import Init
from unvanish.core.setup import Setup
from unvanish.core.values import validated


@final
@validated
class ToyScale(Remedy):
    """Draw every weight from N(0, 0.3**2)."""

    kind: ClassVar[str] = "toy-scale"

    std: float = 0.3

    def apply(self, setup: Setup) -> Setup:
        init = setup.init or Init(std=None)
        if init.std == self.std:
            raise NothingToDo("the toy has scaled it already")
        return replace(setup, init=replace(init, std=self.std))

    def __str__(self) -> str:
        return f"toy N(0, {self.std:g}**2)"
'''


def test_one_file_and_one_line(tmp_path):
    package = tmp_path / "src" / "unvanish"
    shutil.copytree(Path(uv.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "remedies" / "toy_scale.py").write_text(TOY)
    listing = package / "remedies" / "__init__.py"
    text = listing.read_text().replace(
        "    GradualUnfreezing,\n)", "    GradualUnfreezing,\n    toy_scale.ToyScale,\n)"
    )
    listing.write_text(
        text.replace("from unvanish.core.remedy", "from unvanish.remedies import toy_scale\nfrom unvanish.core.remedy")
    )
    tests = tmp_path / "tests"
    tests.mkdir()
    for name in ("conftest.py", "postgres.py", "nets.py", "test_remedies_contract.py"):
        shutil.copy(Path(__file__).parent / name, tests)

    def python(*words):
        return subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path / "src"), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        )  # fmt: skip

    # the public API, JSON, a whole training in a worker process, the store and the report's text
    used = python(
        "-c",
        "import unvanish as uv, torch\n"
        "from unvanish.study.executors.pool import WorkerPool\n"
        "from unvanish.study.scheduler import train_all\n"
        "assert 'toy' in uv.__file__ or 'src' in uv.__file__\n"
        "recipe = uv.baseline(hidden=(8, 8), epochs=1, samples=512).with_remedies(uv.ToyScale())\n"
        "with uv.Store.writer('store') as store:\n"
        "    train_all([recipe], store, executor=WorkerPool(1), device=torch.device('cpu'))\n"
        "    record = store.record(recipe.digest())\n"
        "    print(record.outcome.state, record.recipe)\n",
    )
    assert used.stdout == "finished toy N(0, 0.3**2)\n", used.stderr
    reported = python("-m", "unvanish", "report", "--store", "store", "--to", "r.html")
    assert reported.returncode == 0, reported.stderr
    assert "Toy: scale every weight draw." in (tmp_path / "r.html").read_text()
    unknown = python("-m", "unvanish", "reproduce", "toy-scal")
    assert "did you mean 'toy-scale'?" in unknown.stderr
    # the contract tests pick it up from ALL
    checked = python("-m", "pytest", "-q", "tests", "-p", "no:cacheprovider", "-k", "toy-scale")
    assert checked.returncode == 0, checked.stdout
    assert " passed" in checked.stdout
