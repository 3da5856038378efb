"""Every command with any values of its options, drawn from its own definition: a result or a sentence, no traceback."""

import io
import os
import shutil
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unvanish as uv
from unvanish.cli.commands import app

COMMAND: Any = typer.main.get_command(app)
COMMANDS: dict[tuple[str, ...], Any] = {
    (name, *inner): command
    for name, outer in COMMAND.commands.items()
    for inner, command in (
        [((name,), c) for name, c in outer.commands.items()] if hasattr(outer, "commands") else [((), outer)]
    )
}
CODES = (0, 1, 2)
FULL = Path("/dev/full")
ODD_WORDS = (
    """x . .. /proc /dev/null /dev/full - -- -1 0 1 2 nan inf 1e400 18446744073709551616 1.5 True é <b> [red] %s ~"""
)
ANYTHING = st.one_of(
    st.sampled_from([*ODD_WORDS.split(), "", "a" * 300, "1" * 400, "\udcff", "\n", "\x1b[31m"]),
    st.integers().map(str),
    st.floats(allow_subnormal=False).map(str),  # tests run with denormals flushed
    # not of the root folder, where an administrator's tests would leave files
    st.text(st.characters(exclude_characters="\x00", exclude_categories=[]), max_size=20).map(lambda x: x.lstrip("/")),
)
MEANT = {  # what an option is meant for, so that more than its refusal is seen
    "store": ["store", "damaged", "folder", "nowhere"],
    "activation": ["tanh", "relu", "Sigmoid", "gelu"],
    "depth": ["1", "3"],
    "width": ["8", "3.25in", "640px"],
    "weight_std": ["0", "1e-3", "1", "1e6"],
    "bias_std": ["0", "0.1", "1e6"],
    "diagram": ["d.json", "folder/d.json", "d.xyz", "folder"],
    "engine": ["local"],
    "epochs": ["1", "2", "3"],
    "format": ["text", "json", "sarif", "junit", "svg,png"],
    "to": ["out.csv", "out.md", "-", "/dev/null", "/dev/full", "folder", "file/x.md"],
    "seed": ["0", "5"],
    "steps": ["1", "3"],
    "budget": ["0.01", "-1", "nan"],
    "html": ["out.html", "folder", "/dev/full"],
    "batches": ["model.py:batches", "model.py:five"],
    "figures": ["file"],
    "run": ["1a", "3ea339de", "of my own"],
    "runs": ["3ea339de", "fadae035"],
    "code": ["UV001", "vanishing"],
    "factory": ["model.py:good", "model.py:broken", "model.py:odd", "model.py:five", "model.py"],
    "folder": ["lessons", "folder", "file"],
    "device": ["cpu", "cuda:99", "meta"],
    "jobs": ["1"],
    "measure_every": ["1"],
    "seeds": ["1,2", "1,,2"],
    "methods": ["2", "skip-connection"],
    "file": ["study.toml", "file", "folder", "/dev/full"],
    "first": ["1a", "3ea339de"],
    "second": ["1a", "fadae035"],
    "words": ["3ea339de", "fadae035"],
    "state": ["finished", "failed"],
    "sort": ["accuracy", "seed"],
    "remedy": ["he-init", "weight-increasing:std=2", "skip-connection:pairs=[[1,2]]", "weight-increasing:std"],
    "method": ["5", "2+5", "9"],
    "init": ["0.1", "default", "he", "gaussian:weight_var=2"],
    "optimizer": ["adam", "sgd", "lbfgs"],
    "lr": ["0.1", "0", "-1"],
    "batch": ["64"],
    "samples": ["64"],
    "held_out": ["100"],
    "data": ["fashion-mnist", "folder", "file", "file.npz"],
    "recipe": ["recipe.json", "study.toml", "file"],
    "save_recipe": ["r.json", "r.toml", "r.xyz", "folder"],
    "report": ["r.html", "r.pdf", "folder"],
}
MODEL = """
import torch
from torch import nn

class Odd(BaseException): pass
def broken(): raise ValueError("mine")
def odd(): raise Odd
def five(): return 5
def batches(): return [(torch.randn(8, 4), torch.randint(0, 2, (8,))) for _ in range(9)]
def good():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2))
    return dict(model=model, batches=batches(), optimizer=torch.optim.SGD(model.parameters(), 0.1))
"""


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(sorted(COMMANDS)))
    words = list(name)
    for parameter in COMMANDS[name].params:
        if not draw(st.booleans()) and not parameter.required and parameter.name != "store":
            continue
        value = st.sampled_from(MEANT[parameter.name]) | ANYTHING if parameter.name in MEANT else ANYTHING
        if parameter.param_type_name == "argument":
            words += draw(st.lists(value, min_size=1, max_size=1 if parameter.nargs == 1 else 3))
        elif getattr(parameter, "is_flag", False):
            words.append(draw(st.sampled_from(parameter.opts)))
        else:
            words += [draw(st.sampled_from(parameter.opts)), draw(value)]
    return words


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A store, a damaged one, a folder, a file and a model."""
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(Path(__file__).parent / "stores" / "version2", folder / "store")
    for name in ("damaged", "folder"):
        (folder / name).mkdir()
    (folder / "damaged" / "unvanish.sqlite").write_bytes(b"x" * 5000)
    (folder / "file").write_text("x")
    (folder / "model.py").write_text(MODEL)
    (folder / "recipe.json").write_text(uv.method("5", epochs=1).model_dump_json())
    (folder / "study.toml").write_text('name = "s"\nseeds = [1]\n[axes]\nmethod = ["baseline", "1a"]\n')
    return folder


def said(words: list[str]) -> tuple[Any, str, str]:
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace"), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            COMMAND.main(words, prog_name="unvanish")
            code: Any = 0
        except SystemExit as error:
            code = error.code
    out.flush()
    return code, out.buffer.getvalue().decode(), err.getvalue()


def holds(place: Path, words: list[str], monkeypatch) -> None:
    def untrained(*_arguments: Any, **_options: Any) -> Any:
        raise uv.StoreError("nothing is trained here: what is asked is the way there")

    with monkeypatch.context() as patch:
        patch.chdir(place)
        patch.setattr("unvanish.cli.training.train_and_report", untrained)
        patch.setattr("unvanish.study.conduct.conduct", untrained)
        code, out, err = said(words)
    assert code in CODES, (words, code)
    assert "Traceback" not in out + err, words
    assert code == 0 or out + err, words
    assert "\x1b[31m" not in out + err, words
    assert (place / "file").read_text() == "x"


QUIETLY = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=150, **QUIETLY)
@given(command_lines())
def test_a_command_line_gives_a_result_or_a_sentence(place, monkeypatch, words):
    holds(place, words, monkeypatch)


@pytest.mark.slow
@settings(max_examples=5000, **QUIETLY)
@given(command_lines())
def test_five_thousand_command_lines_give_a_result_or_a_sentence(place, monkeypatch, words):
    holds(place, words, monkeypatch)


@pytest.mark.skipif(not FULL.exists(), reason="this machine has no /dev/full")
@pytest.mark.parametrize(
    "words", [["runs"], ["show", "of my own"], ["export", "--to", "-"], ["rule", "--list"], ["data"]]
)
def test_a_full_standard_output_is_a_sentence(place, words):

    store = [] if words[0] in ("rule", "data") else ["--store", str(place / "store")]
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "unvanish", *words, *store],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "unvanish: standard output: No space left on device\n"


def test_a_terminal_that_knows_ascii_only_gets_codes(place):
    done = subprocess.run(
        [sys.executable, "-m", "unvanish", "show", "of my own", "--store", str(place / "store")],
        capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["runs --store store", "rule UV001", "export --store store --to -", "--version"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_output_is_no_traceback(words, closed, place):
    command = f"{sys.executable} -m unvanish {words} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=place, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)


@pytest.mark.skipif(not FULL.exists(), reason="this machine has no /dev/full")
@pytest.mark.parametrize("words", ["--help", "--version", "runs --help"])
def test_help_into_a_full_disk_is_a_sentence(words, place):
    command = f"{sys.executable} -m unvanish {words} >/dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
