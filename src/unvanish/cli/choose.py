"""Which runs of a store a command is about."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from unvanish.core.arguments import MOST

if TYPE_CHECKING:
    from unvanish.store.protocol import RunStore, Summary
    from unvanish.store.record import Record
    from unvanish.study.report.groups import Group

RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUNS", help="Method ids, remedy names or the start of digests; default all."),
]
EpochsFilter = Annotated[int | None, typer.Option(min=1, max=MOST, metavar="N", help="Only runs of this length.")]
SeedFilter = Annotated[int | None, typer.Option(min=0, max=2**63 - 1, metavar="N", help="Only runs of this seed.")]
LEAST = 4  # characters of a digest


def chosen(summaries: "list[Summary]", words: Sequence[str]) -> "list[Summary]":
    """Those that answer to the words, all for none. Raises `StoreError` for a word that no run answers to."""
    from unvanish.core.errors import StoreError

    found = []
    for word in words:
        some = [s for s in summaries if word in names_of(s) or (len(word) >= LEAST and s.digest.startswith(word))]
        if not some:
            raise StoreError(f"no run is called '{word}'; `unvanish runs` lists what the store holds")
        found += [s for s in some if s not in found]
    return found if words else summaries


def newest(summaries: "list[Summary]", word: str) -> "Summary":
    """Of the runs that answer to the word; others that do are named on standard error."""
    from unvanish.cli.terminal import run_name
    from unvanish.core.output import printable

    found = sorted(chosen(summaries, [word]), key=lambda one: one.begun)
    if len(found) > 1:
        others = "; ".join(run_name(one) for one in found[-2::-1][:3]) + ("; …" if len(found) > 4 else "")
        said = f"'{word}' names {len(found)} runs; this is the newest, {run_name(found[-1])}. Others: {others}"
        typer.echo(printable(f"unvanish: {said}"), err=True)
    return found[-1]


def records_of(
    store: str, words: Sequence[str] | None, epochs: int | None = None, seed: int | None = None
) -> "tuple[list[Record], int]":
    """The runs that can be read, and how many others are left out, each with a sentence.

    Raises `StoreError` where there is no such run with at least one epoch.
    """
    from unvanish.core.errors import StoreError
    from unvanish.store.store import Store

    kept = Store.reader(store)
    records, left_out = readable(kept, chosen(kept.summaries(), words or []))
    fit = [one for one in records if _fits(one, epochs, seed)]
    if not fit:
        raise StoreError(f"{kept} holds no such run with at least one epoch; `unvanish runs` lists what it holds")
    return fit, left_out


def readable(kept: "RunStore", summaries: "Sequence[Summary]") -> "tuple[list[Record], int]":
    """The runs of recipes that have an epoch, and how many are damaged, each told on standard error."""
    whole, left_out = _with_epochs(summaries)
    records = [_read(kept, one.digest) for one in whole]
    found = [record for record in records if record is not None]
    return found, left_out + len(records) - len(found)


def groups_in(
    kept: "RunStore", summaries: "Sequence[Summary]", epochs: int | None = None, seed: int | None = None
) -> "tuple[list[Group], int]":
    """The runs by method, of which not all are read where they are very many, and how many are left out."""
    from unvanish.study.report.groups import grouped_to_read

    whole, left_out = _with_epochs(summaries)
    fit = [one for one in whole if _fits(one, epochs, seed)]
    groups = grouped_to_read(fit, lambda digest: _read(kept, digest))
    return groups, left_out + len(fit) - sum(len(group.runs) for group in groups)


def _with_epochs(summaries: "Sequence[Summary]") -> "tuple[list[Summary], int]":
    from unvanish.store.protocol import DAMAGED

    damaged = [one for one in summaries if one.outcome.state == DAMAGED]
    for one in damaged:
        _told(one.outcome.error)
    return [one for one in summaries if one.recipe is not None and one.outcome.epochs and one not in damaged], len(
        damaged
    )


def _read(kept: "RunStore", digest: str) -> "Record | None":
    from unvanish.core.errors import DamagedError

    try:
        return kept.record(digest, weights=False)
    except DamagedError as error:
        _told(error)
        return None


def _told(error: object) -> None:
    from unvanish.core.output import printable

    typer.echo(printable(f"unvanish: left out: {error}"), err=True)


def _fits(run: "Record | Summary", epochs: int | None, seed: int | None) -> bool:
    recipe = run.recipe
    return recipe is not None and epochs in (None, recipe.epochs) and seed in (None, recipe.seed)


def names_of(summary: "Summary") -> set[str]:
    """What a run answers to, besides its digest: its method's id and its remedies."""
    from unvanish.study.methods import label

    if summary.recipe is None:
        return {summary.name or ""}
    name = label(summary.recipe)
    return {name, name.split(",")[0], *(remedy.kind for remedy in summary.recipe.remedies)}
