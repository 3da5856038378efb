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


HOSTILE = """
import torch
from torch import nn

class Odd(BaseException): pass
def net(): return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
def xy(count=9): return [(torch.randn(32, 4), torch.randint(0, 3, (32,))) for _ in range(count)]
def of(**parts): return {"model": net(), "batches": xy(), **parts}
class Breaks:
    def __iter__(self):
        yield xy(1)[0]
        raise RuntimeError("the loader's disk is gone")
class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
    def forward(self, x): raise Odd("forward")

def raises(): raise ValueError("my own trouble")
def raises_base(): raise Odd("odd")
def exits(): raise SystemExit(3)
def gives_a_class(): return nn.Linear
def loader_breaks(): return of(batches=Breaks())
def not_iterable(): return of(batches=5)
def five(): return 5
def optimizer_text(): return of(optimizer="adam")
def optimizer_refuses(): return of(optimizer=lambda p: torch.optim.Adam(p, lr=-1))
def optimizer_class(): return of(optimizer=nn.Linear)
def loss_raises(): return of(loss_fn=lambda o, t: {}["target"])
def loss_is_none(): return of(loss_fn=lambda o, t: None)
def forward_raises(): return of(model=Raises())
def empty(): return of(batches=[])
def endless():
    while True: yield torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
def endlessly_empty(): return of(batches=endless())
def without_parameters(): return of(model=nn.ReLU())
def recursion(): return recursion()
def fine(): return of()
def huge_rate():
    model = net()
    return of(model=model, optimizer=torch.optim.SGD(model.parameters(), 1e30))
def nan_later():
    model, batches = net(), xy()
    batches[5] = (batches[5][0] * float("nan"), batches[5][1])
    return of(model=model, batches=batches, optimizer=torch.optim.Adam(model.parameters()))
"""


def at(code: str) -> str:
    """Where that code stands."""
    number = next(number for number, line in enumerate(HOSTILE.splitlines(), start=1) if code in line)
    return f"({{file}}, line {number})"


WRONG = {
    "raises": "raises failed: ValueError: my own trouble " + at("my own trouble"),
    "raises_base": "failed: Odd: odd " + at('Odd("odd")'),
    "exits": "failed: SystemExit: 3 " + at("SystemExit(3)"),
    "gives_a_class": "it gave a type",
    "loader_breaks": "RuntimeError: the loader's disk is gone " + at("disk is gone"),
    "not_iterable": "batches must be an iterable of (input, target), such as a DataLoader, not 5",
    "optimizer_text": "an optimizer is one of torch.optim",
    "optimizer_refuses": "ValueError: Invalid learning rate: -1 " + at("lr=-1"),
    "optimizer_class": "an optimizer is one of torch.optim",
    "loss_raises": at('{}["target"]'),
    "loss_is_none": "the loss must be a tensor of one number",
    "forward_raises": "Odd: forward " + at('Odd("forward")'),
    "empty": "there are no batches",
    "endlessly_empty": "100 batches in a row hold no samples",
    "without_parameters": "ReLU has no parameters",
    "recursion": "RecursionError",
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("hostile") / "m.py"
    file.write_text(HOSTILE)
    return file


@pytest.mark.parametrize("factory", WRONG)
def test_what_a_factory_does_wrong_is_told_as_the_user_s(hostile, factory):
    code, out, err = run("check", f"{hostile}:{factory}")
    assert (code, out) == (2, "")
    assert WRONG[factory].format(file=hostile) in err
    assert err.startswith("unvanish: ")
    assert "Traceback" not in err


def test_a_rate_of_1e30_and_a_nan_in_a_later_batch_are_findings(hostile):
    code, out, _ = run("check", f"{hostile}:huge_rate")
    assert code == 1
    assert "learning rate too high" in out.splitlines()[0]
    code, out, _ = run("check", f"{hostile}:nan_later")
    assert code == 1
    assert "in batch 5" in " ".join(out.split())
    assert "out of the data" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{file}:fine", "--batches", "{file}:five"], "batches must be an iterable"),
        (["{file}:fine", "--html", "{folder}"], "it is a folder"),
        (["{folder}/m:fine"], "is no Python file"),
        (["{folder}/wrong.py:fine"], "SyntaxError"),
        (["{file}:fine", "--seed", "1" * 400], "--seed"),
        (["{file}:fine", "--steps", "1" * 400], "--steps"),
        (["x" * 300 + ".py:fine"], "name too long"),
    ],
)
def test_other_wrong_usage_of_check_is_2_before_anything_is_trained(hostile, words, sentence):
    (hostile.parent / "m").write_text("")
    (hostile.parent / "wrong.py").write_text("def (:")
    code, out, err = run("check", *(word.format(file=hostile, folder=hostile.parent) for word in words))
    assert (code, out) == (2, "")
    assert sentence in " ".join(err.split())
    assert "Traceback" not in err
