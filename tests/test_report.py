"""The report: complete, offline, escaped, small."""

import itertools
import json
import re
import shutil

import numpy as np
import pytest
import torch

import unvanish as uv
from unvanish.core.curve import Epoch, Outcome
from unvanish.core.statistics import over_seeds
from unvanish.core.table import Table
from unvanish.measure.quantities import ALL as QUANTITIES
from unvanish.store.record import Record
from unvanish.study.report.curves import curve_rows
from unvanish.study.report.figures import all_figures
from unvanish.study.report.groups import attenuation, grouped
from unvanish.study.report.markdown import markdown
from unvanish.study.report.page import page
from unvanish.study.report.published import PUBLISHED, comparisons
from unvanish.study.report.results import COLUMNS, as_factor, table
from unvanish.study.report.significance import significance
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
    assert to_70 == "2 (all 2)"
    assert (start, end) == ("1/1,000,000", "× 1.0")


def test_spread_is_the_sample_standard_deviation():
    spread = over_seeds([1.0, 2.0, 3.0, 4.0])
    assert spread is not None
    assert spread.std is not None
    assert (spread.mean, spread.n) == (2.5, 4)
    assert spread.std == pytest.approx((5 / 3) ** 0.5)
    assert over_seeds([1.0, None]) is None  # a mean of those that got there would be biased


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


def test_several_methods_have_the_titles_of_each():
    two = uv.method("2").with_remedies(*uv.METHODS["3"][1])
    own = uv.baseline(hidden=(8, 8)).with_remedies(*uv.METHODS["3"][1])
    titles = {group.name: group.title for group in grouped([made_up("own", recipe=one) for one in (two, own)])}
    assert titles.pop("2+3") == "better activation + better optimizer"
    assert list(titles.values()) == ["recipe of your own"]


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
    groups = grouped([made_up("5"), made_up("1a")])
    told = significance(groups)
    assert told is not None
    write_report(groups, tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    assert text == markdown(groups, [told])
    assert "| 5 | skip connection: skips 1→3, 4→7 | 0.7420 |" in text
    assert "| 5 | 1 | 3 | published | 2.2966 | 0.1433 | 2.2951 | 0.1028 |  |" in text
    assert "| torch | x |" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("| 1a")} == {len(COLUMNS) + 1, 10}


def test_it_needs_no_network(tmp_path):
    write_report(grouped([made_up()]), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", markup)
    assert "@import" not in markup
    assert text.count("<script") == text.count("</script>") == 4
    assert "@import" not in text


def test_every_text_of_a_recipe_is_escaped():
    evil = '</script><img src=x onerror="alert(1)">'
    record = made_up()
    record.environment["machine"] = evil
    groups = grouped([record])
    html = page([type(groups[0])(evil, groups[0].records)], all_figures([type(groups[0])(evil, groups[0].records)]))
    assert "<img src=x" not in html
    assert html.count("</script>") == 4


def test_the_whole_published_study_stays_under_2_mb(tmp_path):
    groups = grouped([made_up(method, epochs=300) for method in uv.METHODS])
    write_report(groups, tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size < 2_000_000


def test_every_figure_is_a_valid_specification_without_nan():
    figures = all_figures(grouped([made_up(method) for method in uv.METHODS]))
    assert {"accuracy", "loss", "depth-start", "depth-end", "saturated", "dead", "gradient-6"} <= figures.keys()
    for chart in figures.values():
        json.dumps(chart.to_dict(), allow_nan=False)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
@pytest.mark.parametrize("seeds", [1, 3])
def test_diverged_runs_are_results_in_it(seeds, loss):
    def gone(seed: int) -> Record:
        record = made_up(seed=seed)
        rows = (*record.epochs[:1], Epoch(1, 2, loss, 0.1, loss, 0.1, 1.0))
        outcome = Outcome.of(list(rows), "diverged")
        return Record(record.recipe, record.name, {"device": "cpu"}, rows, record.table, outcome)

    groups = grouped([gone(seed) for seed in range(seeds)])
    assert table(groups)[0][-1].endswith("diverged")
    figures = all_figures(groups)
    assert "diverged" in page(groups, figures)
    first, last = curve_rows(groups[0], "loss")
    assert first["v"] == pytest.approx(groups[0].first.epochs[0].val_loss, rel=1e-3)
    assert last["v"] is None
    assert last["vs"] == (None if seeds > 1 else 0)


def drawn(chart, field: str) -> list[dict]:
    """The rows of a figure that have a field."""
    found = []

    def visit(part):
        found.extend(row for row in part.get("data", {}).get("values", ()) if field in row)
        for inner in part.get("layer", ()):
            visit(inner)

    visit(chart.to_dict())
    return found


def test_a_map_is_relative_to_the_last_hidden_layer_and_epoch_0_is_as_wide_as_the_others():
    groups = grouped([made_up("5", epochs=3)])
    rows = drawn(all_figures(groups)["gradient-5"], "layer")
    first = {row["layer"]: row for row in rows if row["a"] == 0}
    assert [first[layer]["r"] for layer in range(1, 8)] == [-6, -5, -4, -3, -2, -1, 0]
    assert {row["r"] for row in rows if row["a"] == 3} == {0}
    assert first[1]["b"] == 0
    assert first[1]["e"] == pytest.approx(0.5, abs=0.2)


def test_a_map_shows_frozen_layers_and_leaves_out_absent_ones():
    groups = grouped([made_up("6", epochs=30)])
    record = groups[0].first
    steps = record.table.steps
    absent = [index for index, (stage, _) in enumerate(steps) if stage == 1]
    record.table.values["backward_rms"][absent, 2:7] = np.nan
    rows = drawn(all_figures(groups)["gradient-6"], "layer")
    second = [row for row in rows if 10 < row["a"] <= 20]
    assert {row["r"] for row in second if row["layer"] <= 2} == {None}
    assert not [row for row in rows if row["a"] <= 10 and row["layer"] > 2]
    assert not [row for row in rows if row["a"] <= 10 < row["b"]]


def test_labels_of_lines_do_not_touch():
    figures = all_figures(grouped([made_up(method) for method in uv.METHODS]))
    labels = [row for row in drawn(figures["accuracy"], "y") if set(row) == {"method", "epoch", "y"}]
    assert len(labels) == len(uv.METHODS) - 1  # all but the one of several trainings
    heights = sorted(row["y"] for row in labels)
    assert min(b - a for a, b in itertools.pairwise(heights)) > 0.03


def test_a_method_looks_the_same_in_every_report():
    from unvanish.study.report.looks import looks

    every = dict(zip(uv.METHODS, looks(list(uv.METHODS)), strict=True))
    assert len(set(every.values())) == len(uv.METHODS)
    assert looks(["5", "own", "4a"]) == [every["5"], looks(["own"])[0], every["4a"]]
    assert looks(["own"])[0] not in every.values()


def test_tables_for_papers():
    import csv

    from unvanish.study.report.exports import as_csv, as_latex, bibtex

    groups = grouped([made_up("5", seed=42), made_up("5", seed=44)])
    (header, row) = csv.reader(as_csv(groups).splitlines())
    assert tuple(header) == COLUMNS
    assert tuple(row) == table(groups)[0]
    latex = as_latex(groups)
    assert r"$\pm$" in latex
    assert r"1$\to$3" in latex
    assert latex.count(r"\\") == 2
    assert bibtex().count("@") == 9


def test_figures_for_papers(tmp_path):
    from unvanish.study.report.figures import formats_in, pixels, save_figures

    groups = grouped([made_up("5")])
    figures = {"depth-end": all_figures(groups)["depth-end"]}
    save_figures(figures, groups, tmp_path, formats_in("svg,pdf"), "3.25in")
    assert {file.name for file in tmp_path.iterdir()} == {
        f"{name}.{suffix}" for name in ("depth-end", "gradient") for suffix in ("svg", "pdf")
    }
    svg = (tmp_path / "depth-end.svg").read_text()
    assert len(set(re.findall(r'font-family="([^"]+)"', svg))) == 1
    assert "#888" not in svg
    assert (tmp_path / "depth-end.pdf").read_bytes().startswith(b"%PDF")
    assert pixels("8.4cm") == pytest.approx(8.4 / 2.54 * 96)
    for wrong in ("3.25", "0in", "wide", "-1cm"):
        with pytest.raises(uv.RecipeError, match="a number with one of the units"):
            pixels(wrong)
    with pytest.raises(uv.RecipeError, match="'gif' is no format"):
        formats_in("svg,gif")


@pytest.fixture(scope="module")
def browser():
    """The machine's own Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("this machine has no Chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def opened(browser, path, width: int = 1280, theme: str = "light"):
    """The page, drawn; what its console said and what it asked for."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", timeout=120_000)
    return page, said, asked


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "r.html"
    write_report(grouped([made_up(method) for method in uv.METHODS]), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_real_browser_draws_every_chart_asks_for_nothing_and_finds_no_barrier(browser, whole, width, theme):
    from axe_playwright_python.sync_playwright import Axe

    page, said, asked = opened(browser, whole, width, theme)
    charts = page.locator("[data-spec]")
    assert charts.count() == len(all_figures(grouped([made_up(method) for method in uv.METHODS])))
    assert page.locator("[data-spec] svg[role=img][aria-label]").count() == charts.count()
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [whole.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert [(one["id"], one["nodes"][0]["html"]) for one in found.response["violations"]] == []
    page.close()


@pytest.mark.slow
def test_the_page_follows_its_selector_slider_and_headings(browser, whole):
    page, said, _ = opened(browser, whole)

    def lines(spec: str) -> int:
        return page.locator(f"[data-spec={spec}] .mark-line path").evaluate_all(
            "paths => paths.filter(path => path.getAttribute('d')).length"
        )

    assert lines("accuracy") == len(uv.METHODS) - 1
    page.click("#selector [data-method='4a']")
    page.wait_for_timeout(300)
    assert lines("accuracy") == len(uv.METHODS) - 2
    assert page.locator("figure[data-of='4a']").is_hidden()
    assert page.locator("#results-table tr[data-of='4a']").is_hidden()
    page.click("#selector [data-all=no]")
    page.wait_for_timeout(300)
    assert lines("accuracy") == lines("depth-start") == 0
    page.click("#selector [data-all=yes]")
    page.wait_for_timeout(300)
    assert lines("accuracy") == len(uv.METHODS) - 1

    before = page.locator("[data-spec=accuracy] .mark-line path").first.get_attribute("d")
    page.check("[name=images][value=training]")
    page.wait_for_timeout(300)
    assert page.locator("[data-spec=accuracy] .mark-line path").first.get_attribute("d") != before

    page.select_option("#story-method", "1a")
    start = page.locator("[data-spec=story-profile] .mark-line path").evaluate_all(
        "all => all.map(p => p.getAttribute('d'))"
    )
    page.locator("#story-epoch").fill("4")
    page.wait_for_timeout(300)
    end = page.locator("[data-spec=story-profile] .mark-line path").evaluate_all(
        "all => all.map(p => p.getAttribute('d'))"
    )
    assert start != end
    assert page.locator("#story-now").inner_text() == "4"
    assert page.locator("#story-formula math").count() == 1

    page.click("#results-table th:nth-child(3) button")
    values = page.locator("#results-table tbody tr td:nth-child(3)").all_inner_texts()
    assert values == sorted(values)
    page.click("#results-table th:nth-child(1) button")
    names = page.locator("#results-table tbody tr td:nth-child(1)").all_inner_texts()
    assert names == sorted(names)

    page.locator("details.data[data-for=depth-end] summary").click()
    page.locator("details.data[data-for=depth-end] table tr").first.wait_for()  # made when it is opened, by an event
    assert page.locator("details.data[data-for=depth-end] table tr").count() > 70
    assert said == []
    page.close()


def test_the_moments_that_theory_gets_are_those_of_the_images(data):
    from unvanish.data.images import scaled
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


@pytest.mark.slow
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_the_pages_of_a_diagnosis_and_a_repair_have_no_barrier(browser, tmp_path, width, theme):
    from axe_playwright_python.sync_playwright import Axe

    from test_repair import CE, classes, mlp

    model = mlp()
    repair = uv.repair(model, classes(), CE, torch.optim.Adam(model.parameters(), 3e-3), steps=50)
    repair.to_html(tmp_path / "repair.html")
    repair.diagnosis.to_html(tmp_path / "diagnosis.html")
    for name in ("repair", "diagnosis"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        page.goto((tmp_path / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page)
        assert [(one["id"], one["nodes"][0]["html"]) for one in found.response["violations"]] == []
        page.close()
