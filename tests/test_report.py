"""The report: complete, offline, escaped, small."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import unvanish as uv
from unvanish.core.curve import Epoch, Outcome
from unvanish.core.table import Table
from unvanish.measure.quantities import ALL as QUANTITIES
from unvanish.store.record import Record
from unvanish.study.report.figures import all_figures
from unvanish.study.report.markdown import markdown
from unvanish.study.report.page import page
from unvanish.study.report.published import PUBLISHED, comparisons
from unvanish.study.report.results import COLUMNS, Spread, as_factor, attenuation, grouped, table
from unvanish.study.report.write import write_report


def made_up(method: str = "5", epochs: int = 4, seed: int = 42, layers: int = 7, **changes) -> Record:
    """A record with the shape of a real one; its signal falls by 10 a layer at start and not at the end."""
    recipe = uv.method(method, epochs=epochs, seed=seed) if method in uv.METHODS else changes.pop("recipe")
    rows, steps = [], []
    for stage, count in enumerate(recipe.stage_epochs(), start=1):
        steps.append((stage, 0))
        for epoch in range(1, count + 1):
            rows.append(Epoch(stage, epoch, 1 / epoch, 0.5, 1.1 / epoch, 0.7 + seed / 1000, 2.0))
            steps.append((stage, epoch))
    falling = np.outer(np.ones(len(steps)), 10.0 ** np.arange(-layers, 1))
    falling[-1] = 1.0
    names = (*(f"hidden{n + 1}" for n in range(layers)), "output")
    values = {quantity.name: falling.copy() for quantity in QUANTITIES}
    for name in ("saturated", "dead"):
        values[name][:] = 0.25
    table = Table(names, tuple(steps), values, dict.fromkeys(names, 128))
    outcome = Outcome.of(rows, "finished")
    return Record(recipe, recipe.digest(), {"torch": "x", "device": "cpu"}, tuple(rows), table, outcome)


def test_the_results_table():
    (row,) = table(grouped([made_up(seed=42), made_up(seed=44)]))
    name, changes, last, best, to_70, start, predicted, end, state = row
    assert (name, state) == ("5", "finished")
    assert predicted.startswith("1/8.")  # of the network of method 5, whatever was made up
    assert changes == "skip connection: skips 1→3, 4→7"
    assert last == best == f"0.7430 ± {np.std([0.742, 0.744], ddof=1):.4f}"
    assert to_70 == "2 ± 0"
    assert (start, end) == ("1/1,000,000", "× 1.0")


def test_spread_is_the_sample_standard_deviation():
    spread = Spread.of([1.0, 2.0, 3.0, 4.0])
    assert spread is not None
    assert (spread.mean, spread.n) == (2.5, 4)
    assert spread.std == pytest.approx((5 / 3) ** 0.5)
    assert Spread.of([1.0, None]) is None  # a mean of those that got there would be biased


def test_attenuation_ignores_absent_layers_and_an_empty_series():
    record = made_up()
    record.table.values["backward_rms"][0, :2] = np.nan
    assert attenuation(record, 0) == pytest.approx(1e-4)
    record.table.values["backward_rms"][0, :6] = np.nan
    assert attenuation(record, 0) is None
    assert as_factor(None) == "–"


def test_lengths_are_named_only_where_they_differ():
    assert [g.name for g in grouped([made_up("5"), made_up("1a")])] == ["1a", "5"]
    assert [g.name for g in grouped([made_up("5"), made_up("5", epochs=7)])] == ["5, 4 epochs", "5, 7 epochs"]


def test_fewer_images_or_another_batch_are_no_seeds_of_the_same():
    recipes = [uv.method("5", epochs=2, **changes) for changes in ({}, {"samples": 2048}, {"batch": 64})]
    groups = grouped([made_up("own", recipe=recipe) for recipe in recipes])
    assert [group.name for group in groups] == ["5", "5, 2048 images", "5, batch 64"]


def test_another_optimizer_is_no_seed_of_the_same():
    plain, momentum = uv.Optimizer("SGD", 0.1), uv.Optimizer("SGD", 0.1, {"momentum": 0.9})
    recipes = [uv.baseline(epochs=2, optimizer=one) for one in (plain, momentum)]
    groups = grouped([made_up("own", recipe=recipe) for recipe in recipes])
    assert [len(group.records) for group in groups] == [1, 1]
    assert len({group.name for group in groups}) == 2
    assert "±" not in str(table(groups))


def test_only_comparable_epochs_are_compared_with_the_published():
    found = comparisons(grouped([made_up("5"), made_up("6"), made_up("5", seed=1), made_up("3")]))
    assert [(c.method, c.stage, c.epoch) for c in found] == [("5", 1, 1), ("5", 1, 2), ("5", 1, 3)]
    full = comparisons(grouped([made_up("6", epochs=300)]))
    assert [(c.stage, c.epoch) for c in full] == list(PUBLISHED["6"])
    assert full[0].difference > 0


def test_markdown_has_the_tables(tmp_path):
    write_report(grouped([made_up("5"), made_up("1a")]), tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    assert text == markdown(grouped([made_up("5"), made_up("1a")]))
    assert "| 5 | skip connection: skips 1→3, 4→7 | 0.7420 |" in text
    assert "| 5 | 1 | 3 | published | 2.2966 | 0.1433 | 2.2951 | 0.1028 |  |" in text
    assert "| torch | x |" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("| 1a")} == {len(COLUMNS) + 1, 10}


def test_it_needs_no_network(tmp_path):
    write_report(grouped([made_up()]), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", markup)
    assert "@import" not in markup
    assert text.count("<script>") == text.count("</script>") == 2


def test_every_text_of_a_recipe_is_escaped():
    evil = '</script><img src=x onerror="alert(1)">'
    record = made_up()
    record.environment["machine"] = evil
    groups = grouped([record])
    html = page([type(groups[0])(evil, groups[0].records)], all_figures([type(groups[0])(evil, groups[0].records)]))
    assert "<img src=x" not in html
    assert html.count("</script>") == 2


def test_the_whole_published_study_stays_under_2_mb(tmp_path):
    groups = grouped([made_up(method, epochs=300) for method in uv.METHODS])
    write_report(groups, tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size < 2_000_000


def test_every_figure_is_a_valid_specification_without_nan():
    figures = all_figures(grouped([made_up(method) for method in uv.METHODS]))
    assert {"accuracy", "loss", "depth-start", "depth-end", "saturated", "dead", "gradient-6"} <= figures.keys()
    for chart in figures.values():
        json.dumps(chart.to_dict(), allow_nan=False)


def test_a_diverged_run_is_a_result_in_it():
    record = made_up()
    nan = float("nan")
    rows = (*record.epochs[:1], Epoch(1, 2, nan, 0.1, nan, 0.1, 1.0))
    gone = Record(record.recipe, record.name, {"device": "cpu"}, rows, record.table, Outcome.of(list(rows), "diverged"))
    groups = grouped([gone])
    assert table(groups)[0][-1] == "diverged"
    assert "diverged" in page(groups, all_figures(groups))


@pytest.mark.slow
def test_a_real_browser_draws_every_chart_and_asks_for_nothing(tmp_path):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("this machine has no Chromium")
    groups = grouped([made_up(method) for method in uv.METHODS])
    write_report(groups, tmp_path / "r.html")
    dumped = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=20000", "--dump-dom", (tmp_path / "r.html").as_uri()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    charts = re.findall(r'class="chart[^"]*" data-spec="([^"]+)"', dumped.stdout)
    assert len(charts) == len(all_figures(groups))
    assert dumped.stdout.count("<svg") >= len(charts)


def test_the_moments_that_theory_gets_are_those_of_the_images(data):
    from unvanish.data.fashion_mnist import scaled
    from unvanish.study.report.theory import PRODUCT, SQUARE
    from unvanish.theory import Signal

    found = Signal.of(scaled(data.train.pixels_ND[:20_000]).numpy())
    assert (found.square, found.product) == pytest.approx((SQUARE, PRODUCT), rel=0.01)


@pytest.mark.parametrize("name", ["baseline", "1a", "2", "4a", "4b", "5", "centred-critical"])
def test_each_method_s_prediction_is_near_what_is_measured(name):
    (group,) = grouped([uv.run(uv.method(name, epochs=1, samples=1024))])
    measured = attenuation(group.first, 0)
    assert group.predicted == pytest.approx(measured, rel=0.35)  # a network of width 128 scatters, over seven layers


def test_what_needs_more_epochs_says_so():
    short, long = table(grouped([made_up("4b", epochs=32)])), table(grouped([made_up("4b", epochs=60)]))
    assert short[0][-1] == "finished; stays at chance for some 55 epochs"
    assert long[0][-1] == "finished"
    assert "900 in all" in table(grouped([made_up("6", epochs=32)]))[0][-1]


def test_the_whole_study_stands_behind_a_short_run():
    from unvanish.study.report.published_length import published_length

    study = published_length()
    assert set(study.accuracy) == set(uv.METHODS)
    assert {name: len(values) for name, values in study.accuracy.items() if name != "6"} == {
        name: 300 for name in uv.METHODS if name != "6"
    }
    assert len(study.accuracy["6"]) == 900
    for name, stages in PUBLISHED.items():
        ends = [
            figures[3] for (stage, epoch), figures in stages.items() if epoch == 300 and name not in ("1b", "3", "4b")
        ]
        assert all(abs(study.accuracy[name][-1] - end) < 0.03 for end in ends)
    figures = all_figures(grouped([made_up("6", epochs=32), made_up("5", epochs=32)]))
    assert "whole-study" in figures
    assert study.made in json.dumps(figures["whole-study"].to_dict())
    marks = json.dumps(figures["trainings-6"].to_dict())
    assert "2, 0 frozen" not in marks
    assert "4, 2 frozen" in marks
    assert "whole-study" not in all_figures(grouped([made_up("5", epochs=300)]))
