"""The study's runs, diagnosed by the checks of `check`, in the report and by `unvanish show`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import unvanish as uv
from unvanish.cli.commands import app
from unvanish.diagnosis.recorded import diagnose_run
from unvanish.store.record import Record
from unvanish.study.methods import method
from unvanish.study.report.figures import all_figures
from unvanish.study.report.page import page
from unvanish.study.report.results import grouped

METHODS = ("baseline", "1b", "4a")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    folder = tmp_path_factory.mktemp("study")
    return {name: uv.run(method(name, epochs=2, samples=6144), store=folder) for name in METHODS}


def test_the_baseline_vanishes_1b_saturates_and_explodes_and_batch_norm_is_clean(records: dict[str, Record]) -> None:
    kinds = {name: [finding.kind for finding in diagnose_run(record).findings] for name, record in records.items()}
    assert kinds["baseline"] == ["vanishing", "collapse"]
    assert kinds["1b"][0] in ("saturated", "exploding")  # its backward signal grows about 1,000 times, the bound
    assert kinds["4a"] == []


def test_the_report_shows_the_findings_of_each_method(records: dict[str, Record]) -> None:
    groups = grouped(records.values())
    html = page(groups, all_figures(groups))
    section = html[html.index('id="findings"') : html.index('id="methods"')]
    assert "UV001 vanishing" in section
    assert "UV005 saturated" in section
    assert "it learned" in section


def test_show_ends_with_the_verdict(tmp_path: Path) -> None:
    recipe = method("baseline", epochs=1, samples=1024)
    uv.run(recipe, store=tmp_path)
    out = CliRunner().invoke(app, ["show", recipe.digest()[:8], "--store", str(tmp_path)]).stdout
    assert "UV001 vanishing gradient" in out
