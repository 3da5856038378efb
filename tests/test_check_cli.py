"""`unvanish check` and `unvanish rule`, as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from typer.testing import CliRunner

from unvanish.cli.commands import app
from unvanish.diagnosis.checks import ALL

FILE = """
import torch
from torch import nn

def batches():
    x = torch.randn(9, 64, 16, generator=torch.Generator().manual_seed(0))
    return [(one, one[:, :4].argmax(1)) for one in x]

def failing():
    model = nn.Sequential(*[layer for _ in range(12) for layer in (nn.Linear(16, 16), nn.Sigmoid())], nn.Linear(16, 4))
    return {"model": model, "batches": batches(), "optimizer": torch.optim.SGD(model.parameters(), 0.1)}

def healthy():
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))

def number():
    return 3

def broken():
    return 1 / 0

def hungry(width):
    return nn.Linear(width, 4)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checked") / "model.py"
    path.write_text(FILE)
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_failing_network_is_1_and_a_healthy_one_0(file: Path) -> None:
    code, out, _ = run("check", f"{file}:failing")
    assert code == 1
    assert out.startswith("Sequential is failing: vanishing gradient (95% sure).\n")
    assert "unvanish rule UV001" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    code, out, _ = run("check", f"{file}:healthy", "--batches", f"{file}:batches")
    assert code == 0
    assert "healthy" in out


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        ("model.py", "is not FILE.py:FACTORY"),
        ("nowhere.py:failing", "there is no file nowhere.py"),
        ("{file}:failin", "did you mean 'failing'?"),
        ("{file}:number", "must give a torch.nn.Module, or a dict with one as 'model'; it gave a int"),
        ("{file}:broken", "failed: ZeroDivisionError: division by zero ({file}, line 20)"),
        ("{file}:hungry", "needs 'width'"),
        ("{file}:healthy", "gave no batches"),
    ],
)
def test_wrong_usage_is_2_with_a_sentence(file: Path, factory: str, sentence: str) -> None:
    code, out, err = run("check", factory.format(file=file))
    assert code == 2
    assert sentence.format(file=file) in err
    assert not out


def test_a_format_that_there_is_not(file: Path) -> None:
    code, _, err = run("check", f"{file}:failing", "--format", "jsn")
    assert code == 2
    assert "'jsn' is not one of 'text'" in err


def test_json_has_the_findings_and_the_layers(file: Path) -> None:
    code, out, _ = run("check", f"{file}:failing", "--format", "json")
    told = json.loads(out)
    assert code == 1
    assert told["healthy"] is False
    assert told["primary"] == "UV001"
    assert [row["layer"] for row in told["layers"]] == [str(number) for number in range(0, 26, 2)]
    assert {"code", "kind", "message", "layers", "evidence", "prescriptions", "certainty"} <= set(told["findings"][0])


# What SARIF 2.1.0 asks of the parts that are written, from its schema
SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool"],
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "required": ["driver"],
                        "properties": {"driver": {"required": ["name"], "properties": {"rules": {"type": "array"}}}},
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["message"],
                            "properties": {
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "message": {"required": ["text"]},
                                "locations": {"type": "array", "items": {"required": ["physicalLocation"]}},
                            },
                        },
                    },
                },
            },
        },
    },
}


def test_sarif_names_every_rule_and_marks_the_cause_an_error(file: Path) -> None:
    _, out, _ = run("check", f"{file}:failing", "--format", "sarif")
    log = json.loads(out)
    jsonschema.validate(log, SARIF)
    one = log["runs"][0]
    assert [rule["id"] for rule in one["tool"]["driver"]["rules"]] == [check.code for check in ALL]
    assert [(result["ruleId"], result["level"]) for result in one["results"]] == [("UV001", "error"), ("UV002", "note")]


def test_junit_has_a_case_for_every_rule(file: Path) -> None:
    _, out, _ = run("check", f"{file}:failing", "--format", "junit")
    suite = ElementTree.fromstring(out.encode())
    assert suite.get("tests") == str(len(ALL))
    assert suite.get("failures") == "2"
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["UV001 vanishing gradient", "UV002 forward collapse"]


def test_a_page_can_be_written_beside(file: Path, tmp_path: Path) -> None:
    run("check", f"{file}:failing", "--html", tmp_path / "flow.html")
    assert "<svg" in (tmp_path / "flow.html").read_text()


def test_it_pipes(file: Path) -> None:
    command = f"{sys.executable} -m unvanish check {file}:failing | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "Sequential is failing: vanishing gradient (95% sure).\n"
    assert "Traceback" not in done.stderr


def test_rules_are_explained_and_listed() -> None:
    code, out, _ = run("rule", "uv004")
    assert code == 0
    assert out.startswith("UV004 dead units")
    code, out, _ = run("rule", "--list")
    assert [line.split()[0] for line in out.splitlines()] == [check.code for check in ALL]
    code, _, err = run("rule", "UV999")
    assert code == 2
    assert "--list" in err
    assert run("rule")[0] == 2
