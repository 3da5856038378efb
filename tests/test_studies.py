"""Studies as they run: real trainings in a worker process, on a small data set that is generated here."""

import csv
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import unvanish as uv
from test_data_sets import of_tensors
from unvanish.cli.study_tables import print_study
from unvanish.core.output import OutputError
from unvanish.store.chunk import Chunk
from unvanish.store.protocol import ENDED
from unvanish.study.conduct import conduct, run_study
from unvanish.study.executors.pool import Worker, WorkerPool
from unvanish.study.plan import halving, select
from unvanish.study.plan.known import InStore
from unvanish.study.plan.room import next_runs
from unvanish.study.plan.search import greatest
from unvanish.study.report.depths import mean_field_of
from unvanish.study.report.of_study import groups_of, sections_of, write_study_report
from unvanish.study.report.tidy import write_tidy
from unvanish.study.scheduler import train_all
from unvanish.study.settings import recipe_of
from unvanish.study.training import header
from unvanish.train.process import device_named

BASE = {"depth": 2, "width": 8, "activation": "relu", "init": "default", "batch": 10, "epochs": 4, "lr": 0.1}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def study(name: str, **parts) -> uv.Study:
    base = {**BASE, "data": of_tensors().name, **parts.pop("base", {})}
    return uv.Study.model_validate({"name": name, "seeds": [1, 2, 3], "base": base, **parts})


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A study of three cells, its store, and what is known of it."""
    of = study("grid", axes={"lr": [0.0001, 0.1, 0.2]}, compare={"baseline": "lr 0.0001"})
    folder = tmp_path_factory.mktemp("grid")
    return of, folder, run_study(of, folder, jobs=1)


def test_every_cell_has_every_seed(grid):
    of, _, known = grid
    for cell in of.cells:
        assert {known(recipe).state for recipe in of.recipes(cell)} == {"finished"}
    names = [group.name for group in groups_of(of, known)]
    assert names == ["lr 0.0001", "lr 0.1", "lr 0.2"]


def test_the_report_tells_what_differs(grid, tmp_path):
    of, _, known = grid
    sections = {section.id: section for section in sections_of(of, known, groups_of(of, known))}
    against = sections["significance"].tables[1]
    assert [row[:2] for row in against.rows] == [("lr 0.0001", "lr 0.1"), ("lr 0.0001", "lr 0.2")]
    means = [group.last.mean for group in groups_of(of, known) if group.last is not None]
    for row, mean in zip(against.rows, means[1:], strict=True):
        assert float(row[2]) == pytest.approx(mean - means[0], abs=6e-5)
        assert row[-1] in ("yes", "no", "no test")
    assert means[2] - means[0] > 0.3
    write_study_report(of, known, tmp_path / "grid.html")
    page = (tmp_path / "grid.html").read_text()
    assert "What can be told apart" in page
    assert 'id="significance"' in page
    assert "generated" in page  # the data set
    write_study_report(of, known, tmp_path / "grid.md", tmp_path / "figures", "svg", "400px")
    assert "| lr 0.0001 | lr 0.1 |" in (tmp_path / "grid.md").read_text()
    assert (tmp_path / "figures" / "intervals.svg").read_text().startswith("<svg")


def test_what_is_exported_is_tidy(grid, tmp_path):
    of, _, known = grid
    write_tidy(of, known, tmp_path / "runs.csv")
    rows = rows_of(tmp_path / "runs.csv")
    assert len(rows) == 9
    assert {(row["lr"], row["seed"]) for row in rows} == {(lr, s) for lr in ("0.0001", "0.1", "0.2") for s in "123"}
    assert len({row["run"] for row in rows}) == 9
    assert {row["state"] for row in rows} == {"finished"}
    write_tidy(of, known, tmp_path / "epochs.csv", curves=True)
    epochs = rows_of(tmp_path / "epochs.csv")
    assert len(epochs) == 9 * 4
    last = {row["run"]: row["val_acc"] for row in epochs if row["epoch"] == "4"}
    assert last == {row["run"]: row["last_val_acc"] for row in rows}
    with pytest.raises(uv.RecipeError, match=r"a \.csv or a \.parquet"):
        write_tidy(of, known, tmp_path / "runs.xlsx")


def test_parquet_holds_the_same_with_types(grid, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'unvanish[study]'")
    of, _, known = grid
    write_tidy(of, known, tmp_path / "runs.parquet")
    table = parquet.read_table(tmp_path / "runs.parquet")
    assert table.num_rows == 9
    assert table.schema.field("lr").type == "double"
    assert table.schema.field("seed").type == "int64"
    assert sorted(set(table.column("lr").to_pylist())) == [0.0001, 0.1, 0.2]


def test_parquet_without_pyarrow_says_what_to_install(grid, tmp_path, monkeypatch):
    of, _, known = grid
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OutputError, match=r"pip install 'unvanish\[study\]'"):
        write_tidy(of, known, tmp_path / "runs.parquet")


def test_the_same_again_trains_nothing_and_a_study_that_grew_trains_what_is_new(grid):
    of, folder, _ = grid
    events = []
    with uv.Store.writer(folder) as store:
        conduct(of, store, executor=WorkerPool(1), device=device_named("cpu"), listen=events.append)
        assert not events
        grown = uv.Study.model_validate({**of.model_dump(by_alias=True), "seeds": [1, 2, 3, 4]})
        conduct(grown, store, executor=WorkerPool(1), device=device_named("cpu"), listen=events.append)
    assert [event.kind for event in events].count("ended") == 3


def test_a_search_trains_what_it_asks_for(tmp_path):
    """The deeper networks are too deep for four epochs."""
    of = study(
        "s", base={"init": 0.05, "activation": "sigmoid"}, search={"low": 1, "high": 4, "trains": 0.9, "held_out": 30}
    )
    known = run_study(of, tmp_path, jobs=2)
    found = greatest(of, of.cells[0], known)
    assert found.ended
    assert (found.trained, found.failed) == (None, 1)
    easy = study("s", base={"epochs": 20}, search={"low": 1, "high": 4, "trains": 0.5, "held_out": 30})
    known = run_study(easy, tmp_path, jobs=2)
    assert greatest(easy, easy.cells[0], known).trained == 4
    (section,) = [one for one in sections_of(easy, known, []) if one.id == "greatest"]
    assert section.tables[0].rows[0][1] == "4 or more"
    write_study_report(easy, known, tmp_path / "s.md")
    write_tidy(easy, known, tmp_path / "s.csv")
    depths = [row["depth"] for row in rows_of(tmp_path / "s.csv")]
    assert sorted(set(depths)) == ["1", "2", "4"]


def test_halving_stops_what_is_behind_and_trains_the_rest_to_its_end(tmp_path, capsys):
    of = study(
        "h", axes={"lr": [1e-5, 1e-4, 0.1, 0.2]}, base={"epochs": 6},
        halving={"epochs": [2, 4], "keep": 0.5, "held_out": 30},
    )  # fmt: skip
    known = run_study(of, tmp_path, jobs=1)
    stopped = {cell.name: epochs for cell, epochs in halving.stopped(of, known).items()}
    assert {"lr 1e-05", "lr 0.0001"} <= stopped.keys()
    assert sorted(stopped.values()) == [2, 2, 4]
    for cell in of.cells:
        rungs = [known.outcomes[recipe.digest()] for recipe in of.recipes(cell)]
        assert {(one.epochs, one.state) for one in rungs} == {(stopped.get(cell.name, 4), "unfinished")}
    (group,) = groups_of(of, known)
    assert group.recipe.held_out is None
    assert {outcome.epochs for outcome in group.outcomes.values()} == {6}
    (section,) = [one for one in sections_of(of, known, groups_of(of, known)) if one.id == "stopped"]
    assert [row[0] for row in section.tables[0].rows] == list(stopped)
    assert sections_of(of, known, [])[0].sentences[1] == "Of 12 runs 3 are finished; 9 stopped."
    print_study(of, known)
    *_, last = shown = capsys.readouterr().out.splitlines()
    assert last == "Nothing is left to be trained"
    (left,) = [line.split() for line in shown if line.startswith(group.name)]
    assert left[2:5] == ["3/3", "18/18", "finished"]
    assert sum("stopped" in line for line in shown) == 3


def test_a_run_that_diverges_is_behind_in_halving(tmp_path):
    """In the epoch after which it is decided, too: what it has then is the accuracy of chance, and could be best."""
    of = study("y", axes={"lr": [1e-9, 1e30]}, base={"epochs": 2}, halving={"epochs": [1], "keep": 0.4, "held_out": 30})
    known = run_study(of, tmp_path, jobs=1)
    (rung,) = halving.rungs(of, known)
    assert [(cell.name, mean > 0) for cell, mean in rung.order] == [("lr 1e-09", True), ("lr 1e+30", False)]


def test_a_selection_ends_on_the_test_images(tmp_path):
    of = study("c", select={"setting": "lr", "values": [1e-5, 0.1], "held_out": 30})
    known = run_study(of, tmp_path, jobs=1)
    (group,) = groups_of(of, known)
    assert group.recipe.held_out is None
    assert group.recipe.optimizer.lr == 0.1
    (section,) = [one for one in sections_of(of, known, [group]) if one.id == "selection"]
    assert section.tables[0].rows[0][1] == "0.1"


def test_of_a_selection_all_candidates_are_counted_and_the_chosen_are_judged(tmp_path, capsys):
    of = study("c", axes={"width": [8, 16]}, select={"setting": "lr", "values": [1e-5, 0.1], "held_out": 30})
    with uv.Store.writer(tmp_path) as store:
        of_one = uv.Study.model_validate({**of.model_dump(by_alias=True), "axes": {"width": [8]}})
        train_all(select.candidates(of_one, of_one.cells[0]), store, executor=WorkerPool(1), device=device_named("cpu"))
    print_study(of, InStore(uv.Store.reader(tmp_path)))
    *_, first, second, left = capsys.readouterr().out.splitlines()
    assert first.split()[2:5] == ["6/9", "24/36", "finished"]
    assert first.count("–") == 2  # no accuracy on the images that chose it
    assert second.split()[2:4] == ["0/6", "0/24"]
    assert left.startswith("9 runs to be trained next")
    known = run_study(of, tmp_path, jobs=1)
    print_study(of, known)
    *_, first, second, left = capsys.readouterr().out.splitlines()
    assert left == "Nothing is left to be trained"
    assert first.split()[2:4] == second.split()[2:4] == ["9/9", "36/36"]
    assert float(first.split()[5]) == pytest.approx(groups_of(of, known)[0].last.mean, abs=5e-5)


def test_a_study_keeps_no_weights_where_it_is_told_to(tmp_path):
    kept = study("k", seeds=[1])
    without = study("k", seeds=[2], keep_weights=False)
    for of in (kept, without):
        run_study(of, tmp_path, jobs=1)
    store = uv.Store.reader(tmp_path)
    found = [store.record(of.recipes(of.cells[0])[0].digest()) for of in (kept, without)]
    assert [one.outcome.state for one in found] == ["finished", "finished"]
    assert [one.weights is None for one in found] == [False, True]
    assert len(list((tmp_path / "weights").iterdir())) == 1


def damage_one(of: uv.Study, folder: Path) -> str:
    """Change the curve of its first run; gives its digest."""
    digest = of.recipes(of.cells[0])[0].digest()
    with closing(sqlite3.connect(folder / "unvanish.sqlite")) as kept, kept:
        assert kept.execute("UPDATE curve SET val_acc = 0.5 WHERE digest = ?", (digest,)).rowcount == 4
    return digest


def test_a_damaged_run_is_left_out_with_a_warning_until_it_is_trained_again(tmp_path, caplog):
    of = study("d", axes={"lr": [0.1, 0.2]})
    before = run_study(of, tmp_path, jobs=1)
    digest = damage_one(of, tmp_path)
    known = InStore(uv.Store.reader(tmp_path))
    write_study_report(of, known, tmp_path / "d.md")
    assert f"{digest[:8]} is left out: run" in caplog.text
    text = (tmp_path / "d.md").read_text()
    assert "Of 6 runs 5 are finished; 1 damaged." in text
    assert "lr 0.1 has no run with seed 1." in text
    write_tidy(of, known, tmp_path / "epochs.csv", curves=True)
    assert len(rows_of(tmp_path / "epochs.csv")) == 5 * 4
    ended = []
    with uv.Store.writer(tmp_path) as store:
        pool, cpu = WorkerPool(1), device_named("cpu")
        after = conduct(of, store, executor=pool, device=cpu, restart_damaged=True, listen=ended.append)
    assert [event.digest for event in ended if event.kind == "ended"] == [digest]
    assert after.after(of.recipes(of.cells[0])[0], 4) == before.after(of.recipes(of.cells[0])[0], 4)


def test_a_run_whose_row_is_damaged_is_told_everywhere(tmp_path, caplog, capsys):
    of = study("w", axes={"lr": [0.1]}, seeds=[1, 2])
    run_study(of, tmp_path, jobs=1)
    with closing(sqlite3.connect(tmp_path / "unvanish.sqlite")) as kept, kept:
        digest = of.recipes(of.cells[0])[0].digest()
        kept.execute("UPDATE run SET last_val_acc = 0.5 WHERE digest = ?", (digest,))
    known = InStore(uv.Store.reader(tmp_path))
    print_study(of, known)
    assert "1 run damaged: unvanish study run --restart-damaged" in capsys.readouterr().out.splitlines()[-1]
    write_tidy(of, known, tmp_path / "w.csv")
    assert [row["seed"] for row in rows_of(tmp_path / "w.csv")] == ["2"]
    write_tidy(of, known, tmp_path / "w.csv")
    assert caplog.text.count("is left out") == 1  # told once
    assert known.left_out == {digest}


def test_a_budget_counts_what_comes_after_a_damaged_run(tmp_path):
    of = study("q", search={"low": 1, "high": 64, "trains": 0.01, "held_out": 30}, budget={"runs": 5}, seeds=[1])
    run_study(of, tmp_path, jobs=1)
    with closing(sqlite3.connect(tmp_path / "unvanish.sqlite")) as kept, kept:
        digest = of.recipes(of.cells[0], depth=1)[0].digest()
        kept.execute("UPDATE curve SET val_acc = 0.5 WHERE digest = ?", (digest,))
    with uv.Store.writer(tmp_path) as store:
        known = conduct(of, store, executor=WorkerPool(1), device=device_named("cpu"), restart_damaged=True)
    assert len(known.outcomes) == 5


def test_data_that_have_too_few_images_are_told_before_anything_is_trained(tmp_path):
    of = study("z", select={"setting": "lr", "values": [0.1], "held_out": 10_000})
    with pytest.raises(uv.UnvanishError, match="10,000 training images cannot be held out of"):
        run_study(of, tmp_path, jobs=1)
    assert not uv.Store.reader(tmp_path).summaries()


def test_the_next_call_tries_failed_runs_again(tmp_path):
    of = study("n", axes={"lr": [0.1, 0.2]}, search={"low": 1, "high": 4, "held_out": 30})
    first = of.recipes(of.cells[0], depth=1)[0]
    with uv.Store.writer(tmp_path) as store:
        about = header(first, device_named("cpu"), None, ensemble=False, here=True)
        store.begin(first, about)
        store.add(first.digest(), Chunk("failed", error="it broke"))
    known = InStore(uv.Store.reader(tmp_path))
    assert [one.recipe.seed for one in next_runs(of, known)[0]] == [1, 2, 3, 1, 2, 3]
    assert known(first) is not None  # as it was
    assert "1 failed" in sections_of(of, known, [])[0].sentences[1]
    assert "tried again" in sections_of(of, known, [])[0].sentences[2]


def test_a_run_that_has_begun_goes_on_where_the_budget_is_used_up(tmp_path):
    of = study("g", search={"low": 1, "high": 4, "held_out": 30}, budget={"runs": 1}, seeds=[1])
    (first,) = of.recipes(of.cells[0], depth=1)
    with uv.Store.writer(tmp_path) as store:
        store.begin(first, header(first, device_named("cpu"), None, ensemble=False, here=True))
    known = InStore(uv.Store.reader(tmp_path))
    assert [one.recipe for one in next_runs(of, known)[0]] == [first]
    assert sections_of(of, known, [])[0].sentences[1] == "Of 1 runs so far 0 are finished; 1 not begun."


def test_a_setting_does_not_take_the_column_of_a_run(tmp_path):
    of = study("e", axes={"epochs": [1, 2]}, seeds=[1])
    write_tidy(of, run_study(of, tmp_path, jobs=1), tmp_path / "e.csv")
    lines = (tmp_path / "e.csv").read_text().splitlines()
    assert lines[0].split(",").count("epochs") == 1
    assert [(row["epochs_setting"], row["epochs"]) for row in rows_of(tmp_path / "e.csv")] == [("1", "1"), ("2", "2")]


def test_a_budget_ends_the_study_and_the_next_call_goes_on(tmp_path):
    of = study("b", base={"epochs": 4000}, axes={"lr": [0.1, 0.2]}, budget={"minutes": 0.05}, seeds=[1])
    reasons = []
    with uv.Store.writer(tmp_path) as store:

        def listen(event):
            if event.kind == "stopping":
                reasons.append(event.data["reason"])

        known = conduct(of, store, executor=WorkerPool(1), device=device_named("cpu"), listen=listen)
    assert reasons == ["the 0.05 minutes of its budget are over"]
    outcomes = list(known.outcomes.values())
    assert not all(one.state in ENDED for one in outcomes)
    before = max(one.epochs for one in outcomes)
    assert before > 0
    again = run_study(of, tmp_path, jobs=1)
    assert sum(one.epochs for one in again.outcomes.values()) > sum(one.epochs for one in outcomes)


def test_no_more_runs_are_trained_than_the_budget_has(tmp_path, caplog, capsys):
    of = study("r", search={"low": 1, "high": 64, "trains": 0.01, "held_out": 30}, budget={"runs": 3}, seeds=[1, 2])
    known = run_study(of, tmp_path, jobs=1)
    assert len(known.outcomes) == 3
    assert caplog.text.count("its budget of 3 runs is used up") == 1
    assert next_runs(of, known) == ([], True)
    print_study(of, known)
    assert capsys.readouterr().out.splitlines()[-1] == "Its budget of 3 runs is used up"
    known = run_study(of, tmp_path, jobs=1)
    assert len(known.outcomes) == 3
    write_tidy(of, known, tmp_path / "runs.csv")
    assert [(row["depth"], row["seed"]) for row in rows_of(tmp_path / "runs.csv")] == [
        ("1", "1"),
        ("1", "2"),
        ("2", "1"),
    ]


def trained_with_damage_forgotten(of: uv.Study, folder: Path, jobs: int) -> None:
    with uv.Store.writer(folder) as store:
        train_all([], store, executor=WorkerPool(jobs), device=device_named("cpu"), restart_damaged=True)


@pytest.mark.parametrize("begin", [run_study, trained_with_damage_forgotten])
def test_no_worker_is_left_where_a_study_cannot_begin(begin, tmp_path, monkeypatch):
    workers = []

    class Counted(Worker):
        def __init__(self) -> None:
            super().__init__()
            workers.append(self)

    def fails(*_arguments, **_options):
        raise uv.StoreError("it cannot be read")

    monkeypatch.setattr("unvanish.study.executors.pool.Worker", Counted)
    monkeypatch.setattr("unvanish.study.conduct.InStore", fails)
    monkeypatch.setattr(uv.Store, "forget_lost_runs", fails)
    with pytest.raises(uv.StoreError, match="cannot be read"):
        begin(study("never", axes={"lr": [0.1, 0.2]}), tmp_path, jobs=2)
    assert len(workers) == 2
    assert all(worker.process.returncode is not None for worker in workers)


def test_another_machine_that_was_faster_does_not_end_a_search(tmp_path, monkeypatch):
    """What this process read of the store when it began is behind: the other has trained all since."""
    of = study("f", search={"low": 1, "high": 4, "trains": 0.01, "held_out": 30}, seeds=[1])
    run_study(of, tmp_path, jobs=1)
    begun = InStore.__init__

    def behind(self, store):
        begun(self, store)
        if not stale:
            stale.append(self.outcomes.copy())
            self.outcomes.clear()

    stale = []
    monkeypatch.setattr(InStore, "__init__", behind)
    known = run_study(of, tmp_path, jobs=1)
    assert greatest(of, of.cells[0], known).ended
    assert stale[0].keys() == known.outcomes.keys()


def test_theory_is_asked_of_gaussian_networks_only():
    field = mean_field_of(recipe_of({"depth": 5, "activation": "tanh", "weight_var": 1.5, "bias_var": 0.05}))
    assert field is not None
    assert (field.weight_var, field.bias_var, field.activation.name) == (1.5, 0.05, "Tanh")
    published = mean_field_of(uv.baseline())
    assert published is not None
    assert published.weight_var == pytest.approx(128 * 0.05**2)
    for other in ({"remedies": ["normalize-inside"]}, {"remedies": ["skip-every-block"]}, {"init": "default"}):
        assert mean_field_of(recipe_of({"depth": 5, **other})) is None


def test_the_phase_diagram_has_theory_s_line(tmp_path):
    base = {name: value for name, value in BASE.items() if name not in ("init", "depth")}
    base |= {"data": of_tensors().name, "activation": "tanh", "bias_var": 0.05, "epochs": 1}
    axes = {"depth": [2, 5, 9], "weight_var": [1.0, 1.76, 3.0]}
    of = uv.Study.model_validate({"name": "p", "seeds": [1], "base": base, "axes": axes})
    known = run_study(of, tmp_path, jobs=1)
    write_study_report(of, known, tmp_path / "p.html", tmp_path / "figures", "svg", "400px")
    assert "phase-diagram.svg" in {path.name for path in (tmp_path / "figures").iterdir()}
    (section,) = [one for one in sections_of(of, known, []) if one.id == "phases"]
    assert [row[1] for row in section.tables[0].rows] == ["ordered", "ordered", "chaotic"]
    assert float(section.tables[0].rows[0][3]) == pytest.approx(22, abs=1)  # 6 ξ_c at σ_w² = 1, σ_b² = 0.05


def test_the_command_runs_reports_and_exports(tmp_path):
    x, y = np.eye(4, dtype=np.float32).repeat(8, 0), np.arange(4).repeat(8)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\nseeds = [1, 2]\n[base]\ndata = "mine.npz"\ndepth = 1\nwidth = 8\nepochs = 2\nbatch = 4\n'
        "[axes]\nlr = [0.1, 0.2]\n"
    )

    def said(*words: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "unvanish", "study", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    dry = said("run", file, "--dry-run", "--store", "store")
    assert dry.returncode == 0, dry.stderr
    assert not (tmp_path / "store").exists()
    done = said("run", file, "--store", "store", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(Path("store") / "mine.html")
    assert "2/2" in said("status", file, "--store", "store").stdout
    assert said("export", file, "--store", "store", "--to", "-").stdout.count("\n") == 5
    assert said("report", file, "--store", "store", "--to", "mine.md").stdout == "mine.md\n"
    wrong = said("run", tmp_path / "none.toml")
    assert (wrong.returncode, "cannot be read" in wrong.stderr) == (2, True)
    assert "weight_var" in said("settings").stdout
