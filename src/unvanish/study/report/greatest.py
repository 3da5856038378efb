"""How deep (or whatever was searched for) each cell still trains, beside theory."""

import math

import altair as alt

from unvanish.study.plan.cells import Cell
from unvanish.study.plan.known import Known
from unvanish.study.plan.search import Greatest, greatest, trains_from
from unvanish.study.plan.study import Study
from unvanish.study.report.depths import mean_field_of
from unvanish.study.report.section import Section, Table

FIGURE = "greatest"
ROW = 26  # pixels a cell


def found_of(study: Study, known: Known) -> dict[Cell, Greatest]:
    return {cell: greatest(study, cell, known) for cell in study.cells} if study.search is not None else {}


def _theory(study: Study, cell: Cell) -> float | None:
    """6 ξ_c of the cell's layers; `None` where theory is of other networks, or of another setting."""
    assert study.search is not None
    if study.search.setting != "depth":
        return None
    field = mean_field_of(study.recipes(cell, depth=max(3, study.search.low))[0])
    return None if field is None else field.trainable_depth


def section(study: Study, found: dict[Cell, Greatest]) -> Section:
    search = study.search
    assert search is not None
    rows = []
    for cell, one in found.items():
        theory = _theory(study, cell)
        said = "–" if theory is None else "no limit" if math.isinf(theory) else f"{theory:.1f}"
        trained = one.tried.get(one.trained, ()) if one.trained is not None else ()
        failed = one.tried.get(one.failed, ()) if one.failed is not None else ()
        rows.append((cell.name, str(one), _listed(trained), str(one.failed or "–"), _listed(failed), said))
    setting = search.setting
    trains = sorted({f"{trains_from(study, cell):.3g}" for cell in found})  # by the number of classes
    sentences = [
        f"The greatest {setting} at which more than half of {len(study.seeds)} seeds reach an accuracy of "
        f"{' or '.join(trains)} in the last epoch on the {_images(study)}, looked for between {search.low} and "
        f"{search.high}: doubled until it fails, then halved on a log scale, until what failed is at most "
        f"{search.within} times what trained.",
        "A search takes for granted that what trains at one value trains below it. It is of this many steps and this "
        "learning rate: with more steps, deeper networks train.",
    ]
    if setting == "depth":
        sentences.append(
            "Theory: 6 ξ_c layers, for Gaussian weights without normalisation or skips (Schoenholz et al. 2017, "
            "section 5). It is about the initial weights, and so the same for every optimizer and length of training."
        )
    columns = ("cell", f"greatest {setting}", "accuracy of each seed", "failed at", "accuracy there", "theory, 6 ξ_c")
    return Section("greatest", f"The greatest {setting}", sentences, [Table("Each cell", columns, rows)], [FIGURE])


def figure(study: Study, found: dict[Cell, Greatest]) -> alt.LayerChart:
    search = study.search
    assert search is not None
    names = [cell.name for cell in found]
    bars, marks = [], []
    for cell, one in found.items():
        to, theory = one.trained or 1, _theory(study, cell)
        says = {"cell": cell.name, "from": 1, "to": to, "right": to, "says": str(one)}
        if theory is not None and math.isfinite(theory):
            marks.append({"cell": cell.name, "to": max(theory, 1.0)})
            says["right"] = max(to, theory)  # so that the mark does not stand in the words
        bars.append(says)
    scale = alt.Scale(type="log", domain=[1, 3 * search.high], nice=False)
    x = alt.X("to:Q", title=search.setting, scale=scale)
    y = alt.Y("cell:N", scale=alt.Scale(domain=names), title=None, axis=alt.Axis(labelLimit=320))
    base = alt.Chart(alt.Data(values=bars))
    bar = base.mark_bar(height=14, color="#0072b2", opacity=0.8)
    bar = bar.encode(x=alt.X("from:Q", scale=scale, title=search.setting), x2="to:Q", y=y, tooltip=["cell:N", "says:N"])
    words = base.mark_text(align="left", dx=4).encode(x=alt.X("right:Q", scale=scale), y=y, text="says:N")
    theory = alt.Chart(alt.Data(values=marks)).mark_tick(color="#d55e00", thickness=3, size=20)
    return alt.LayerChart(layer=[bar, words, theory.encode(x=x, y=y)]).properties(
        height=ROW * max(1, len(names)),
        width="container",
        title=alt.TitleParams(
            f"the greatest {search.setting} that trains", subtitle="orange: theory, 6 ξ_c, where it has one"
        ),
        description=f"The greatest {search.setting} at which each cell trains.",
    )


def _images(study: Study) -> str:
    return "test images" if study.recipes(study.cells[0])[0].held_out is None else "held-out training images"


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.2f}" for value in values) or "–"
