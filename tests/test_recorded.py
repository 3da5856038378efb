"""The study's runs, diagnosed by the checks of `check`, in the report and by `unvanish show`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import unvanish as uv
from unvanish.cli.commands import app
from unvanish.core.curve import Epoch, Outcome
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.data.images import scaled
from unvanish.diagnosis.recorded import diagnose_run
from unvanish.store.record import Record
from unvanish.study.methods import method
from unvanish.study.report.figures import all_figures
from unvanish.study.report.groups import grouped
from unvanish.study.report.page import page

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


def test_a_recorded_run_and_a_check_tell_the_same_of_layers_of_different_widths() -> None:
    """An RMS is no norm where widths differ."""
    recipe = uv.baseline(hidden=(256, 16, 128, 8, 64, 32, 128), samples=1024, epochs=1)
    recorded = diagnose_run(uv.run(recipe))
    images = fashion_mnist().train
    x, y = scaled(images.pixels_ND[:4608]), images.labels_N[:4608]
    checked = uv.check(recipe.setup(), zip(x.split(512), y.split(512), strict=True))
    both = [one.findings[0] for one in (recorded, checked)]
    assert [one.kind for one in both] == ["vanishing", "vanishing"]
    assert both[0].evidence["signal_left"] == pytest.approx(both[1].evidence["signal_left"], rel=0.1)
    assert recorded.table.layers == checked.table.layers == recipe.setup().layers


def test_what_was_reached_in_an_earlier_stage_is_no_learning() -> None:
    """Method 6, whose first trainings learn and whose last ends at chance."""
    recipe = method("6", epochs=3)
    rows = tuple(
        Epoch(stage, epoch, 2.3, 0.1, 2.3, 0.1 if stage == 7 else 0.6, 1.0)
        for stage, count in enumerate(recipe.stage_epochs(), start=1)
        for epoch in range(1, count + 1)
    )
    table = uv.run(method("6", epochs=1, samples=512)).table
    record = Record(recipe, recipe.digest(), {}, rows, table, Outcome.of(rows, "finished"))
    told = diagnose_run(record, -1)
    assert told.learned is False
    assert told.healthy is not True
    assert "did not learn" in told.last_word()
    assert "0.6000 was reached on the way" in told.last_word()
    assert "copies" not in str(told)
