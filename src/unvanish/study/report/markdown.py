"""The tables of the report as Markdown, for documents that keep them: `unvanish report --to results.md`."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from unvanish.core.output import printable
from unvanish.study.report.groups import MOST_SHOWN, Group
from unvanish.study.report.published import comparisons
from unvanish.study.report.results import COLUMNS, different_environments, headline, table
from unvanish.study.report.section import Section


def markdown(groups: Sequence[Group], sections: Sequence[Section] = ()) -> str:
    """Results, ours beside the published numbers, and where they were measured."""
    parts = [_cell(headline(groups)), _table(COLUMNS, table(groups))] if 0 < len(groups) <= MOST_SHOWN else []
    for section in sections:
        parts += [f"## {_cell(section.title)}", *map(_cell, section.sentences)]
        for one in section.tables:
            parts += [f"{_cell(one.caption)}:", _table(one.columns, one.rows)]
    if compared := comparisons(list(groups)):
        parts += ["Ours beside the published numbers:", _table(*_comparison_rows(compared))]
    if not groups:
        return "\n\n".join(parts) + "\n"
    seconds = sum(group.seconds for group in groups)
    epochs = sum(outcome.epochs for group in groups for outcome in group.outcomes.values())
    parts.append(f"{epochs:,} epochs in {seconds:,.0f} process-seconds of training. Measured on:")
    parts += [_table(("", ""), facts.items()) for facts in different_environments(groups)]
    return "\n\n".join(parts) + "\n"


def _comparison_rows(compared: Sequence) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    columns = (
        "method",
        "training",
        "epoch",
        "",
        "train loss",
        "train acc",
        "val loss",
        "val acc",
        "largest difference",
    )
    rows = []
    for c in compared:
        at = (c.method, str(c.stage), str(c.epoch))
        rows.append((*at, "published", *(f"{value:.4f}" for value in c.published), ""))
        difference = "0" if c.difference == 0 else f"{c.difference:.4f}"
        rows.append((*at, "ours", *(f"{value:.4f}" for value in c.ours), difference))
    return columns, rows


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: object) -> str:
    """A text that is shown as it is: Markdown passes HTML on, and reads brackets as links."""
    text = printable(escape(str(value), quote=False)).replace("\n", " ")
    return re.sub(r"([|\[\]`])", r"\\\1", text)
