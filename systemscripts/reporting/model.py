"""The parts of a report, and its error."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from typing import NamedTuple

from systemscripts.errors import JobError
from systemscripts.reporting.writing import PLAIN, Writing


class ReportError(JobError):
    """The report cannot be made from its row."""


@dataclass(frozen=True)
class Query:
    """One query of a report; `name` is the placeholder it fills or the file it becomes.

    `attach_empty` attaches the file, with its headings, even if the query has no rows. `links` are those of a workbook's cells.
    `file` is where the SQL came from, "" if from the row.
    """

    name: str
    sql: str
    attach_empty: bool = False
    links: Mapping[str, str] = field(default_factory=dict)
    file: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} ({self.file})" if self.file else self.name


@dataclass(frozen=True)
class Chart:
    """A query for a chart: the first column holds the labels of the x axis, each other column a series of numbers."""

    name: str
    sql: str
    kind: str  # line, bar or stacked
    title: str
    writing: Writing = PLAIN
    file: str = ""

    @property
    def query(self) -> Query:
        return Query(self.name, self.sql, file=self.file)


@dataclass(frozen=True)
class GridOptions:
    """How a grid is shown, by the headings of its columns.

    `formats` are Python's format specifications for numbers (",.2f", ".1%") and dates ("%d %b %Y");
    the columns in `totals` are summed up in a last row; `colours` name the colour of a cell by its text or by a comparison
    ("<0"); `sparklines` are columns of number arrays, which are drawn. the cells of a column in `links` are links to
    the addresses in another column, or in itself. `rows` is how many rows the grid may have.
    """

    formats: Mapping[str, str] = field(default_factory=dict)
    totals: tuple[str, ...] = ()
    colours: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sparklines: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    rows: int = 1_000
    writing: Writing = PLAIN


@dataclass(frozen=True)
class Report:
    """One row of dba.treportmanager. `recipients` is "" if no client gets a mail; `deliver_to` is "" if no folder gets its files.

    `locale` is how its readers write, "" for the plain way.
    `required_datasets` are dataset types, or type:label; each must have an active dataset of the day. While one has
    none, the report waits until `wait_until`, a local time; then `when_late` says what becomes of it.
    """

    report_id: int
    name: str
    is_on: bool
    subject: str
    recipients: str
    template: str
    grids: tuple[Query, ...]
    attachments: tuple[Query, ...]
    charts: tuple[Chart, ...] = ()
    options: Mapping[str, GridOptions] = field(default_factory=dict)
    frequency: str = ""
    min_rows: int = 0
    required_datasets: tuple[str, ...] = ()
    wait_until: time | None = None
    when_late: str = "skip"  # skip, partial or send
    locale: str = ""
    deliver_to: str = ""

    @property
    def queries(self) -> tuple[Query, ...]:
        return (*self.grids, *(chart.query for chart in self.charts), *self.attachments)

    @property
    def label(self) -> str:
        return f"report {self.report_id} ({self.name})"


@dataclass(frozen=True)
class Edition:
    """The version of a report that some recipients, and a folder, get; `id` is 0 if there is only one.

    `parameters` are texts by name, for the queries and for the placeholders. `locale` is None for that of the report.
    """

    id: int
    recipients: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    locale: str | None = None
    deliver_to: str = ""


class Kind(NamedTuple):
    """The type of a column in the database: its number; for numeric(12,2) also 12 and 2, else None."""

    oid: int
    precision: int | None = None
    scale: int | None = None


class ListText(str):
    """An array, as PostgreSQL writes it."""

    __slots__ = ()


class MomentText(str):
    """An interval, or a date or time that no Python type can hold, as PostgreSQL writes it."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """A query's result: the columns' names, and rows of numbers, truth values, dates, times, texts and nulls.

    A value that no such type can hold exactly is the text that PostgreSQL writes for it; see `casts`. `kinds` are the types of
    the columns in the database.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    kinds: tuple[Kind, ...] = field(default=(), compare=False)
