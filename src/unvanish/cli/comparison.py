"""Two runs side by side: `unvanish compare`."""

from collections.abc import Iterator
from typing import Any

import typer

from unvanish.cli.tables import print_table
from unvanish.cli.terminal import ends, number, run_name_of
from unvanish.core.output import printable
from unvanish.store.record import Record
from unvanish.study.report.groups import attenuation
from unvanish.study.report.results import as_factor

SHOWN = ("backward_rms", "activation_rms", "update_ratio")


def print_comparison(first: Record, second: Record) -> None:
    """What differs between the recipes, then outcome, curve and gradient flow."""
    for name, record in (("A", first), ("B", second)):
        typer.echo(printable(f"{name}: {run_name_of(record)}"))
    typer.echo()
    _print_differences(first, second)
    rows = [
        (what, *(said(record) for record in (first, second)))
        for what, said in (
            ("state", lambda record: record.outcome.state),
            ("epochs", lambda record: str(record.outcome.epochs)),
            ("last accuracy", lambda record: _accuracy(record.outcome.last_val_acc)),
            ("best accuracy", lambda record: _accuracy(record.outcome.best_val_acc)),
            ("training time", lambda record: f"{record.outcome.seconds:.0f} s"),
            ("gradient ratio at init", lambda record: as_factor(attenuation(record, 0))),
            ("gradient ratio at the end", lambda record: as_factor(attenuation(record, -1))),
        )
    ]
    print_table(("", "A", "B"), rows)
    typer.echo("\ncurves")
    _print_curves(first, second)
    for name, step in (("at initialisation", 0), ("at the end", -1)):
        _print_flow(first, second, step, name)


def _print_differences(first: Record, second: Record) -> None:
    if first.recipe is None or second.recipe is None:
        typer.echo("A setup of one's own has no recipe to compare.\n")
        return
    one, other = (dict(_flat(record.recipe.model_dump(mode="json"))) for record in (first, second) if record.recipe)
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    if not names:
        typer.echo("The recipes are the same.\n")
        return
    print_table(("recipe", "A", "B"), [(name, _said(one, name), _said(other, name)) for name in names])
    typer.echo()


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """`network.hidden`, `optimizer.lr`, …: one name for each value that can differ; lists as a whole."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _said(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    if isinstance(value, list):
        if len(value) > 3 and len(set(map(str, value))) == 1:
            return f"{len(value)} × {value[0]}"
        return ", ".join(_remedy(one) for one in value) or "none"
    return "–" if value is None else str(value)


def _remedy(value: Any) -> str:
    if not isinstance(value, dict) or "kind" not in value:
        return str(value)
    fields = ", ".join(f"{key}={one}" for key, one in value.items() if key != "kind")
    return value["kind"] + (f" ({fields})" if fields else "")


def _print_curves(first: Record, second: Record) -> None:
    """Epoch by epoch of both, all stages in a row."""
    rows = []
    for index in range(max(len(first.epochs), len(second.epochs))):
        a, b = (record.epochs[index] if index < len(record.epochs) else None for record in (first, second))
        both = a is not None and b is not None
        rows.append(
            (
                str(index + 1),
                *("–" if row is None else number(row.val_loss) for row in (a, b)),
                *("–" if row is None else number(row.val_acc) for row in (a, b)),
                f"{b.val_acc - a.val_acc:+.4f}" if both and a and b else "–",
            )
        )
    print_table(("epoch", "val loss A", "val loss B", "val acc A", "val acc B", "B − A"), ends(rows))


def _print_flow(first: Record, second: Record, step: int, name: str) -> None:
    if not first.table.steps or not second.table.steps:
        return
    typer.echo(f"\ngradient flow {name}")
    rows = []
    for layer, *places in _layers(first, second):
        cells = [layer]
        for quantity in SHOWN:
            for record, place in zip((first, second), places, strict=True):
                known = quantity in record.table.values and place is not None
                cells.append(number(record.table.row(quantity, step)[place]) if known else "–")
        rows.append(tuple(cells))
    print_table(("layer", *(f"{quantity} {which}" for quantity in SHOWN for which in "AB")), rows)


def _layers(first: Record, second: Record) -> Iterator[tuple[str, int | None, int | None]]:
    """Each layer with its place in both: by place in networks of one depth, whatever their names; by name in others."""
    a, b = first.table.layers, second.table.layers
    if len(a) == len(b):
        yield from ((name, place, place) for place, name in enumerate(a))
        return
    for name in dict.fromkeys([*a, *b]):
        yield name, a.index(name) if name in a else None, b.index(name) if name in b else None


def _accuracy(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
