"""The report of a study: what all reports have, and what its kind of study asks for."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.core.recipe import Recipe
from unvanish.core.values import counted
from unvanish.store.protocol import DAMAGED
from unvanish.study.plan import halving, select
from unvanish.study.plan.known import InStore, state_of
from unvanish.study.plan.results import counted_runs, reported
from unvanish.study.plan.study import Study
from unvanish.study.plan.wanted import wanted
from unvanish.study.report import greatest, phases
from unvanish.study.report.groups import Group
from unvanish.study.report.section import Section, Table
from unvanish.study.report.significance import significance

if TYPE_CHECKING:
    from unvanish.study.report.figures import AnyFigure


def study_path(study: Study, beside: Path) -> Path:
    """Beside the report of the store that its runs are in."""
    return beside.with_name(f"{study.name}.html")


def groups_of(study: Study, known: InStore) -> list[Group]:
    """As far as their runs have come: those with at least one epoch."""
    found = []
    for cell, recipes in reported(study, known, study.cells).items():
        records = [known.record(digest) for one in recipes if (digest := one.digest()) in known.outcomes]
        begun = tuple(record for record in records if record is not None and record.epochs)
        if begun:
            found.append(Group(cell.name, begun))
    return found


def sections_of(study: Study, known: InStore, groups: Sequence[Group]) -> list[Section]:
    found = [_state(study, known)]
    if points := phases.points(study, known):
        found.append(phases.section(points))
    if searched := greatest.found_of(study, known):
        found.append(greatest.section(study, searched))
    if study.select is not None:
        found.append(_selected(study, known))
    if study.halving is not None:
        found.append(_stopped(study, known))
    told = significance(groups, study.compare.baseline, study.compare.by)
    return [*found, *([told] if told is not None else [])]


def write_study_report(
    study: Study,
    known: InStore,
    path: Path,
    folder: Path | None = None,
    formats: str = "svg,png",
    width: str = "640px",
    *,
    groups: Sequence[Group] | None = None,
) -> None:
    """As a page, or as Markdown; and with `folder` every figure in a file of its own.

    groups   as `groups_of` gives them, where they have been read already
    """
    from unvanish.study.report.write import report_figures, write_report

    groups = groups_of(study, known) if groups is None else groups
    figures = {**own_figures(study, known), **report_figures(groups, study.compare.by)}
    if folder is not None:
        from unvanish.study.report.figures import formats_in, save_figures

        save_figures(figures, groups, folder, formats_in(formats), width)
    write_report(groups, path, figures, sections_of(study, known, groups), title=study.title or study.name)


def own_figures(study: Study, known: InStore) -> "dict[str, AnyFigure]":
    from unvanish.render.charts import styled

    found: dict[str, AnyFigure] = {}
    if points := phases.points(study, known):
        found[phases.FIGURE] = styled(phases.figure(points))
    if searched := greatest.found_of(study, known):
        found[greatest.FIGURE] = styled(greatest.figure(study, searched))
    return found


def _state(study: Study, known: InStore) -> Section:
    """What was varied, and what is not there."""
    sentences = [f"{counted(len(study.cells), 'cell')}, {counted(len(study.seeds), 'seed')}: {_seeds(study)}."]
    states = _states(study, known)
    if other := sorted(set(states) - {"finished"}):
        said = ", ".join(f"{states.count(state)} {state}" for state in other)
        sentences.append(
            f"Of {len(states)} runs{_so_far(study, known)} {states.count('finished')} are finished; {said}."
        )
    if "failed" in states:
        sentences.append("A run that failed is tried again by the next call of unvanish study run.")
    if DAMAGED in states:
        sentences.append("A run that is damaged is trained again by unvanish study run with --restart-damaged.")
    return Section("study", "The study", sentences)


def _states(study: Study, known: InStore) -> list[str]:
    """Of each run."""
    found, stopped = dict[str, str](), halving.stopped(study, known) if study.halving is not None else {}
    for cell, recipes in counted_runs(study, known, study.cells).items():
        for recipe in recipes:
            state = state_of(known.outcomes.get(recipe.digest()))
            found[recipe.digest()] = "stopped" if cell in stopped and state == "unfinished" else state
    return list(found.values())


def _so_far(study: Study, known: InStore) -> str:
    return " so far" if study.goes_by_results and wanted(study, known.without_failed()) else ""


def _epochs(after: Sequence[int]) -> str:
    """
    >>> _epochs([4, 2]), _epochs([1])
    ('2, 4 epochs', '1 epoch')
    """
    *others, last = sorted(after)
    return ", ".join([*map(str, others), counted(last, "epoch")])


def _held_out(recipes: Iterable[Recipe]) -> str:
    """How many images."""
    return " or ".join(f"{count:,}" for count in sorted({recipe.held_out or 0 for recipe in recipes}))


def _seeds(study: Study) -> str:
    return ", ".join(map(str, study.seeds))


def _selected(study: Study, known: InStore) -> Section:
    chosen = study.select
    assert chosen is not None
    rows = []
    for cell in study.cells:
        means = select.judged(study, cell, known)
        if means is None:
            rows.append((cell.name, "not yet known", ""))
            continue
        best = select.chosen(study, cell, known)
        rows.append((cell.name, str(best), ", ".join(f"{value}: {mean:.4f}" for value, mean in means)))
    judged = (recipe for cell in study.cells for recipe in select.candidates(study, cell))
    sentence = (
        f"{chosen.setting} was chosen for each cell by the mean accuracy over the seeds on {_held_out(judged)} "
        "training images that were held out; a run that diverged counts as 0. The test images had no part in it: only "
        "the chosen values are judged on them, once."
    )
    columns = ("cell", f"chosen {chosen.setting}", "accuracy on the held-out images")
    return Section("selection", f"Choosing {chosen.setting}", [sentence], [Table("Each cell", columns, rows)])


def _stopped(study: Study, known: InStore) -> Section:
    """Every run that was stopped, with what it had."""
    part = study.halving
    assert part is not None
    rows = [
        (cell.name, str(rung.epochs), f"{mean:.4f}", f"{place} of {len(rung.order)}", str(rung.kept))
        for rung in halving.rungs(study, known)
        for place, (cell, mean) in enumerate(rung.order, start=1)
        if cell in rung.stopped
    ]
    judged = (recipe for cell in study.cells for recipe in study.recipes(cell))
    sentence = (
        f"This study stops what falls behind: after {_epochs(part.epochs)} the best "
        f"{part.keep:.0%} of the cells go on, by their mean accuracy over the seeds on {_held_out(judged)} held-out "
        "training images; a run that failed or diverged before counts as 0. Those that are left in the end are "
        "trained anew on all training images and judged on the test images, once; those that were stopped are not in "
        "the results above. A method that starts slowly is stopped by this even if it would have ended best."
    )
    columns = ("stopped", "after epochs", "accuracy then", "place", "went on")
    return Section("stopped", "What was stopped", [sentence], [Table("Stopped cells", columns, rows)])
