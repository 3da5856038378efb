"""The command line as a user meets it: real processes, their output and their exit codes."""

import csv
import importlib.metadata
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import unvanish as uv
from unvanish.train.native.library import missing

CLI = [sys.executable, "-m", "unvanish"]
WIDE = os.environ | {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}


def cli(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [*CLI, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=WIDE, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """What `unvanish reproduce baseline 5 --epochs 2 --seeds 42,43` leaves."""
    folder = tmp_path_factory.mktemp("cli") / "store"
    done = cli("reproduce", "baseline", "skip-connection", "--epochs", 2, "--seeds", "42,43", "--store", folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == str(folder / "report.html")
    assert "val acc, last" in lines[0]
    assert [line.split()[0] for line in lines[1:-1] if not line.startswith(" ")] == ["baseline", "5"]
    assert " ± " in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.count("finished after") == 4
    return folder


def test_the_same_command_again_trains_nothing(store):
    again = cli("reproduce", "baseline", "5", "--epochs", 2, "--seeds", "42,43", "--store", store)
    assert again.stderr.count("known already") == 4
    assert "finished" not in again.stderr


def test_quiet_prints_the_path_only(store, tmp_path):
    page = tmp_path / "page.html"
    quiet = cli("reproduce", "5", "--epochs", 2, "--store", store, "--report", page, "--quiet")
    assert (quiet.stdout, quiet.stderr, quiet.returncode) == (f"{page}\n", "", 0)
    assert page.read_text().startswith("<!doctype html>")


def in_a_terminal(*words: object, columns: int = 80) -> tuple[str, list[str]]:
    """What a terminal of so many columns gets, and its lines without escapes."""
    command = [*CLI, *map(str, words)]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment | {"TERM": "xterm"})
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    assert process.wait() == 0
    text = b"".join(parts).decode()
    return text, re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).replace("\r", "").splitlines()


def test_80_columns_have_room_for_every_column_and_break_no_figure(store):
    text, lines = in_a_terminal("reproduce", "baseline", "5", "--epochs", 2, "--seeds", "42,43", "--store", store)
    assert "\x1b[1m" in text
    assert max(map(len, lines[:-1])) <= 80  # the last is a path
    assert any("0.1000" in line and line.rstrip().endswith("finished") for line in lines)
    _, lines = in_a_terminal("runs", "--store", store)
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["run", "method", "seed", "epochs", "state", "val", "acc", "time", "started"]
    _, lines = in_a_terminal("show", uv.method("5", epochs=2, seed=43).digest()[:8], "--store", store)
    assert max(len(line) for line in lines if "digest" not in line) <= 80
    assert any(line.endswith(": unvanish export --layers") for line in lines)


def test_help_shows_no_value_for_flags(store):
    for command in ("reproduce", "check", "repair", "lessons"):
        _, lines = in_a_terminal(command, "--help")
        assert max(map(len, lines)) <= 80
        assert not any("bool" in line for line in lines)
        assert any("-h" in line for line in lines)


def test_runs_lists_and_show_shows(store):
    listed = cli("runs", "--store", store)
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) == 5
    digest = uv.method("5", epochs=2, seed=43).digest()
    assert digest[:8] in listed.stdout
    shown = cli("show", digest[:8], "--store", store)
    for words in ("skips 1→3, 4→7", "seed 43", "SGD, lr=0.01", "gradient flow at initialisation", "backward_rms"):
        assert words in shown.stdout
    several = cli("show", "5", "--store", store)
    assert several.returncode == 0
    assert "names 2 runs; this is the newest" in several.stderr
    newest = max(uv.Store.reader(store).summaries(), key=lambda one: (one.recipe.remedies != (), one.begun))
    assert newest.digest in several.stdout


def test_export_has_one_row_an_epoch(store, tmp_path):
    cli("export", "--to", tmp_path / "curves.csv", "--store", store)
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "method", "seed", "run", "epochs",
        "stage", "epoch", "train_loss", "train_acc", "val_loss", "val_acc", "seconds",
    ]  # fmt: skip
    assert len(rows) == 2 * 2 * 2
    assert {(row["method"], row["seed"], row["epoch"]) for row in rows} == {
        (method, seed, epoch) for method in ("baseline", "5") for seed in ("42", "43") for epoch in ("1", "2")
    }


def test_export_layers_to_a_pipe(store):
    layers = cli("export", "5", "--layers", "--to", "-", "--store", store).stdout.splitlines()
    header = layers[0].split(",")
    assert header[:6] == ["method", "seed", "run", "epochs", "stage", "epoch"]
    assert len(layers) == 1 + 2 * 3 * 8  # seeds × (start + epochs) × layers
    first = dict(zip(header, layers[1].split(","), strict=True))
    assert first["layer"] == "hidden1"
    assert 0 < float(first["backward_rms"]) < 1e-3


def test_a_closed_pipe_is_no_error(store):
    command = f"{sys.executable} -m unvanish export --layers --to - --store {store} | head -1"
    piped = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert piped.stdout.startswith("method,seed")
    assert (piped.stderr, piped.returncode) == ("", 0)


def test_runs_are_filtered_and_sorted(store):
    def listed(*words: object) -> list[tuple[str, str]]:
        lines = cli("runs", *words, "--store", store).stdout.splitlines()[1:]
        return [tuple(line.split()[1:3]) for line in lines]

    assert listed("skip-connection", "--seed", 43) == [("5", "43")]
    assert listed("--sort", "seed", "--reverse")[:2] == listed("--seed", 43)
    assert [method for method, _ in listed("--sort", "method")] == ["5", "5", "baseline", "baseline"]
    assert listed("--epochs", 3) == []
    assert len(listed("--newest", 3)) == 3
    wrong = cli("runs", "--state", "finishd", "--store", store)
    assert (wrong.returncode, "did you mean 'finished'" in wrong.stderr) == (2, True)


def test_two_runs_are_compared(store):
    found = cli("compare", "baseline", "5", "--store", store)
    assert found.returncode == 0, found.stderr
    assert "skip-connection (pairs=[[1, 3], [4, 7]])" in found.stdout
    assert "gradient flow at the end" in found.stdout
    same = cli(
        "compare", uv.method("5", epochs=2).digest()[:8], uv.method("5", epochs=2).digest()[:8], "--store", store
    )
    assert "The recipes are the same." in same.stdout


def test_a_smaller_command_does_not_narrow_the_report(store):
    page = store / "report.html"
    cli("reproduce", "5", "--epochs", 2, "--store", store)
    assert 'data-method="baseline"' in page.read_text()
    cli("reproduce", "5", "--epochs", 2, "--store", store, "--only")
    assert 'data-method="baseline"' not in page.read_text()
    cli("report", "--store", store)
    assert 'data-method="baseline"' in page.read_text()


def test_a_network_of_ones_own_is_trained_and_compared(tmp_path):
    recipe, store = tmp_path / "mine.toml", tmp_path / "store"
    words = ("--depth", 3, "--width", 16, "--activation", "tanh", "--init", "critical", "--remedy", "skip-every-block")
    options = ("--samples", 2048, "--epochs", 2, "--seeds", "1,2", "--store", store)
    done = cli("train", *words, *options, "--save-recipe", recipe)
    assert done.returncode == 0, done.stderr
    assert "16 tanh" in done.stdout
    assert "16 sigmoid" in done.stdout  # the baseline of this depth and width
    assert "over 2 seeds" in done.stdout
    again = cli("train", "--recipe", recipe, "--seeds", "1,2", "--store", store)
    assert again.stderr.count("known already") == 4
    assert cli("train", "--recipe", recipe, "--lr", 0.5, "--dry-run").stdout.count("lr = 0.5") == 1
    refused = cli("train", "--dept", 3)
    assert refused.returncode == 2
    wrong = cli("train", "--remedy", "skip-conection")
    assert (wrong.returncode, "did you mean 'skip-connection'" in wrong.stderr) == (2, True)


def test_report_is_rebuilt_from_the_store_alone(store, tmp_path):
    page, figures = tmp_path / "again.html", tmp_path / "figures"
    built = cli("report", "--store", store, "--to", page, "--figures", figures)
    assert built.stdout == f"{page}\n"
    names = {path.name for path in figures.iterdir()}
    assert {"accuracy.svg", "accuracy.png", "depth-start.svg", "gradient-5.png", "loss.svg"} <= names
    assert (figures / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (figures / "depth-start.svg").read_text()


def test_data_says_where_it_lies():
    found = cli("data")
    assert [Path(line).name for line in found.stdout.splitlines()] == [
        "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
    ]  # fmt: skip
    assert all(Path(line).exists() for line in found.stdout.splitlines())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["reproduce", "7"], "no method or remedy is called '7'"),
        (["reproduce", "skip-conection"], "did you mean 'skip-connection'?"),
        (["reproduce", "--epochs", "0"], "--epochs"),
        (["reproduce", "--epochs", "3", "--published"], "leave --epochs out"),
        (["reproduce", "--seeds", "a,b"], "--seeds takes whole numbers"),
        (["reproduce", "--seeds", "-1"], "--seeds takes numbers from 0"),
        (["reproduce", "--sedes", "1"], "--seeds"),
        (["reproduce", "5", "--device", "gpu0"], "device 'gpu0'"),
        (["reproduce", "5", "--address", "10.0.0.1:6379"], "add --engine ray"),
        (["reproduce", "5", "--engine", "dask"], "--engine"),
        (["nothing"], "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_2_and_a_sentence(words, sentence, tmp_path):
    refused = cli(*words, cwd=tmp_path)
    assert refused.returncode == 2
    assert sentence in " ".join(refused.stderr.replace("│", " ").split())
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.iterdir())


def test_a_report_that_cannot_be_written_is_refused_before_training(tmp_path):
    refused = cli("reproduce", "5", "--report", "/proc/nowhere/r.html", "--store", tmp_path)
    assert refused.returncode == 1
    assert "cannot be written" in refused.stderr
    assert "finished" not in refused.stderr


def test_no_store_is_a_sentence(tmp_path):
    for command in (["runs"], ["show", "5"], ["export", "--to", "-"], ["report"]):
        refused = cli(*command, cwd=tmp_path)
        assert refused.returncode == 1
        assert "holds no store yet" in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["", "reproduce", "runs", "show", "export", "report", "data"])
def test_help_teaches(command):
    helped = cli(*command.split(), "--help")
    assert helped.returncode == 0
    assert "Usage: unvanish" in helped.stdout
    assert not command or "Example" in helped.stdout


def test_version():
    first, second = cli("--version").stdout.splitlines()
    assert first == f"unvanish {importlib.metadata.version('unvanish')}"
    assert second == f"native step: {f'none ({missing()}); training takes the plain step' if missing() else 'compiled'}"


def test_an_empty_name_is_refused(tmp_path):
    for words in (
        ("runs", "--store", ""),
        ("reproduce", "baseline", "--report", ""),
        ("report", "--to", ""),
        ("export", "--to", ""),
        ("theory", "--diagram", ""),
        ("lessons", ""),
    ):
        done = cli(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "an empty name" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_device_is_written_to_and_not_replaced(store, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen([*CLI, "report", "--store", str(store), "--to", str(pipe)], stdout=subprocess.DEVNULL)
    assert pipe.read_text().startswith("<!doctype html>")
    assert process.wait() == 0
    assert pipe.is_fifo()
    done = cli("report", "--store", store, "--to", "/dev/full")
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert Path("/dev/full").is_char_device()


def test_a_report_that_is_a_link_is_written_where_it_leads(store, tmp_path):
    (tmp_path / "link.html").symlink_to(tmp_path / "real.html")
    assert cli("report", "--store", store, "--to", tmp_path / "link.html").returncode == 0
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").read_text().startswith("<!doctype html>")


def test_no_more_workers_than_runs(tmp_path):
    done = cli("reproduce", "baseline", "--epochs", 1, "--jobs", 8, "--store", tmp_path / "store")
    assert done.stderr.splitlines()[0] == "Starting 1 worker process"


def test_neighbours_of_a_file_are_found_and_none_is_taken_for_a_package(tmp_path):
    (tmp_path / "parts.py").write_text(
        "from torch import nn\nmake = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))\n"
    )
    (tmp_path / "scipy.py").write_text("raise SystemExit('the neighbour was imported')\n")
    (tmp_path / "model.py").write_text(
        "import torch\nfrom parts import make\n\ndef both():\n    x = torch.randn(9, 32, 4)\n"
        "    return {'model': make(), 'batches': [(one, (one[:, 0] > 0).long()) for one in x]}\n"
    )
    done = cli("check", "model.py:both", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
