"""Runs as a tidy table, CSV or Parquet: a row for each run, or for each of its epochs."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unvanish.core.curve import CURVE_COLUMNS
from unvanish.core.errors import OutputError, RecipeError
from unvanish.core.output import write_output
from unvanish.store.protocol import DAMAGED
from unvanish.study.plan.known import InStore
from unvanish.study.plan.study import Study
from unvanish.study.plan.tried import tried
from unvanish.study.report.csv import as_cell, opened_csv

OF_A_RUN = (
    "run",
    "seed",
    "epochs",
    "held_out",
    "state",
    "last_val_acc",
    "best_val_acc",
    "run_seconds",
    "seconds_to_70",
)
SUFFIXES = (".csv", ".parquet")


def write_tidy(study: Study, known: InStore, to: Path, *, curves: bool = False) -> None:
    """A column for each setting that is varied, then the run's own; with `curves` those of each epoch behind them.

    `run` is the start of its digest, and `epochs` how many it has. `-` is standard output.

    Raises `RecipeError` for a file of another kind, `OutputError` where one cannot be written.
    """
    if str(to) != "-" and to.suffix.lower() not in SUFFIXES:
        raise RecipeError(f"an export is a .csv or a .parquet file, or -; not '{to.name}'")
    settings, rows = _settings(study), list(_rows(study, known, curves=curves))
    columns = (*settings, *OF_A_RUN, *(CURVE_COLUMNS if curves else ()))
    if to.suffix.lower() == ".parquet":
        _parquet(columns, rows, to)
        return
    with opened_csv(to) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([as_cell(row.get(name)) for name in columns] for row in rows)


def _settings(study: Study) -> tuple[str, ...]:
    own = [part.setting for part in (study.search, study.select) if part is not None]
    varied = dict.fromkeys(name for cell in study.cells for name in cell.varied)
    return ("cell", *dict.fromkeys(map(_column, [*varied, *own])))


def _column(setting: str) -> str:
    """A run has epochs and held-out images of its own: of several trainings in a row, and of a selection."""
    return f"{setting}_setting" if setting in OF_A_RUN else setting


def _rows(study: Study, known: InStore, *, curves: bool) -> Iterator[dict[str, Any]]:
    for cell, settings, recipe in tried(study, known):
        outcome = known.outcomes.get(recipe.digest())
        if outcome is None or (outcome.state == DAMAGED and known.record(recipe.digest()) is None):
            continue
        row = {"cell": cell.name, **{_column(name): _plain(value) for name, value in settings.items()}}
        row |= {"run": recipe.digest()[:12], "seed": recipe.seed, "held_out": recipe.held_out}
        row |= {name: getattr(outcome, name) for name in OF_A_RUN if hasattr(outcome, name)}
        row["run_seconds"] = outcome.seconds
        if not curves:
            yield row
            continue
        record = known.record(recipe.digest())
        for epoch in () if record is None else record.epochs:
            yield row | {name: getattr(epoch, name) for name in CURVE_COLUMNS}


def _plain(value: Any) -> Any:
    """Lists and tables as texts: a table's cells hold one value."""
    if isinstance(value, list | tuple):
        return " + ".join(map(str, value))
    return str(value) if isinstance(value, dict) else value


def _parquet(columns: tuple[str, ...], rows: list[dict[str, Any]], to: Path) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise OutputError("Parquet needs pyarrow: pip install 'unvanish[study]'; or name a .csv file") from error
    table = pyarrow.table({name: _alike([row.get(name) for row in rows]) for name in columns})
    content = pyarrow.BufferOutputStream()
    parquet.write_table(table, content)
    write_output(to, content.getvalue().to_pybytes())


def _alike(values: list[Any]) -> list[Any]:
    """Of one type, as a column of Parquet is: texts where some are."""
    texts = any(isinstance(value, str) for value in values)
    return [value if value is None or not texts else str(value) for value in values]
