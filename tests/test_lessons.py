"""The lessons: notebooks that are built from their sources, valid, copied out by the command, and run by a kernel."""

import ast
import importlib
import json
import os
import runpy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from typer.testing import CliRunner

import unvanish as uv
from unvanish.cli import lessons as command
from unvanish.cli.commands import app

SOURCES = Path(__file__).parents[1] / "lessons"
BUILDER = runpy.run_path(str(SOURCES / "build.py"))
LESSONS = BUILDER["lessons"]()
REQUIRED = ("Question", "Predict", "Formula", "Run", "Plot", "Answer", "Where it fails", "Exercises", "Solution")
# What a kernel needs of its own: debugpy's warning would be one more line, and the short form is for tests.
KERNEL = os.environ | {"UNVANISH_LESSON_SHORT": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    BUILDER["build"](folder)
    return folder


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run as a notebook in a folder of its own; an exception in a cell is raised here."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    with client.setup_kernel(env=KERNEL):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    return notebook


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    errors = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not errors  # no warning reaches a student
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_there_are_eight_in_order():
    assert [path.stem[:2] for path in LESSONS] == [f"{number:02}" for number in range(1, 9)]


@pytest.mark.parametrize("source", LESSONS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_the_same_each_time(source, built):
    path = built / f"{source.stem}.ipynb"
    assert path.read_text(encoding="utf-8") == BUILDER["notebook"](source)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)
    texts = "\n".join(cell.source for cell in notebook.cells)
    assert [word for word in REQUIRED if word not in texts] == []
    assert texts.count("$$") % 2 == 0
    assert texts.count("<details>") == texts.count("</details>")
    assert "UNVANISH_LESSON_SHORT" in notebook.cells[1].source  # the first cell of code


@pytest.mark.parametrize("source", LESSONS, ids=lambda path: path.stem)
def test_what_a_lesson_takes_from_us_is_there(source):
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("unvanish"):
            module = importlib.import_module(str(node.module))
            assert [one.name for one in node.names if not hasattr(module, one.name)] == []
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "uv":
            assert hasattr(uv, node.attr), node.attr


def test_a_lesson_is_run_as_a_notebook_in_short_form(built, tmp_path):
    notebook = execute(built / "01_baseline.ipynb", tmp_path)
    assert "test accuracy after 1 epochs: 0.1" in printed(notebook)
    figures = [cell for cell in notebook.cells if "image/svg+xml" in json.dumps(cell.get("outputs", []))]
    assert len(figures) == 2
    assert list(tmp_path.iterdir()) == []  # nothing is left in the student's folder


def test_a_lesson_is_a_script_as_well(monkeypatch, capsys):
    monkeypatch.setenv("UNVANISH_LESSON_SHORT", "1")
    runpy.run_path(str(SOURCES / "06_skip_connection.py"), run_name="__main__")
    assert "least: layer 2" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("source", LESSONS, ids=lambda path: path.stem)
def test_each_is_run_as_a_notebook_in_short_form(source, built, tmp_path):
    assert printed(execute(built / f"{source.stem}.ipynb", tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def lessons(built, monkeypatch):
    """The command, over lessons that are built anew."""
    monkeypatch.setattr(command, "BUILT", built)
    return lambda *words: CliRunner().invoke(app, ["lessons", *map(str, words)])


def test_they_are_copied_out(lessons, built, tmp_path):
    folder = tmp_path / "new" / "mine"
    done = lessons(folder)
    assert done.exit_code == 0
    written = sorted(folder.iterdir())
    assert done.stdout.splitlines() == [str(path) for path in written]
    assert [path.name for path in written] == [f"{source.stem}.ipynb" for source in LESSONS]
    assert all(path.read_bytes() == (built / path.name).read_bytes() for path in written)
    assert f"jupyter lab {folder}" in done.stderr
    assert lessons(folder).exit_code == 0  # once more changes nothing


def test_what_a_student_wrote_is_not_overwritten(lessons, tmp_path):
    assert lessons(tmp_path).exit_code == 0
    mine, gone = tmp_path / "02_weight_increasing.ipynb", tmp_path / "03_better_activation.ipynb"
    mine.write_text("my work")
    gone.unlink()
    refused = lessons(tmp_path)
    assert refused.exit_code == 2
    assert str(mine) in refused.stderr
    assert "--force" in refused.stderr
    assert mine.read_text() == "my work"
    assert not gone.exists()  # all or nothing
    assert lessons(tmp_path, "--force").exit_code == 0
    assert mine.read_text() != "my work"
    assert gone.exists()


def test_what_cannot_be_done_is_said_in_a_sentence(lessons, monkeypatch, tmp_path):
    file = tmp_path / "a-file"
    file.write_text("")
    done = lessons(file)
    assert (done.exit_code, done.stderr) == (2, f"unvanish: {file} is a file; name a folder for the lessons\n")
    done = lessons(file / "below")
    assert done.exit_code == 1
    assert "cannot be written" in done.stderr
    monkeypatch.setattr(command, "BUILT", tmp_path / "nothing")
    done = lessons(tmp_path / "new")
    assert done.exit_code == 1
    assert "pip install --editable ." in done.stderr


def test_the_package_carries_them():
    """As installed: a wheel, or `pip install --editable .`, builds them."""
    names = [path.name for path in sorted(command.BUILT.glob("*.ipynb"))]
    assert names == [f"{source.stem}.ipynb" for source in LESSONS], "pip install --editable . builds them"
