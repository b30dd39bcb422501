"""What a report is made of, and how it fails."""

from dataclasses import dataclass

from systemscripts.errors import JobError


class ReportError(JobError):
    """A report cannot be made as its row says."""


@dataclass(frozen=True)
class Query:
    """One query of a report; `name` is the placeholder it fills or the file it becomes."""

    name: str
    sql: str


@dataclass(frozen=True)
class Report:
    """One row of dba.treportmanager. `recipients` is "" where it goes to its owner only."""

    report_id: int
    name: str
    is_on: bool
    subject: str
    recipients: str
    template: str
    grids: tuple[Query, ...]
    attachments: tuple[Query, ...]

    @property
    def label(self) -> str:
        return f"report {self.report_id} ({self.name})"


@dataclass(frozen=True)
class Table:
    """A query's result: the columns' names, and rows of Python objects as psycopg2 gives them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
