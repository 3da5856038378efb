"""A part of a report that not every report has: sentences, tables and figures, for the page and for Markdown alike."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """`caption` says what its rows are."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """figures   names of figures of the report, which come before the tables
    id        of its heading in the page
    """

    id: str
    title: str
    sentences: Sequence[str]
    tables: Sequence[Table] = ()
    figures: Sequence[str] = ()
