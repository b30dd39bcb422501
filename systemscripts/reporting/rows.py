"""The rows of dba.treportmanager as objects."""

from typing import TYPE_CHECKING, Any

from systemscripts.errors import WrongCall
from systemscripts.reporting.model import Query, Report, ReportError

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

ACTIVE = 1  # dba.tdatastatus

_SELECT = """
    SELECT reportid, reportname, datastatusid, subjectheader, toheader, emailbodytemplate,
           emailbodyqueries, hasattachment, attachmentqueries
    FROM dba.treportmanager
    WHERE reportid = %s
"""


def load_report(connection: "Connection", report_id: int) -> Report:
    """Return the report of that id, on or off.

    Raises WrongCall, naming the ids that there are, where there is no such row.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(_SELECT, (report_id,))
        row = cursor.fetchone()
        if row is not None:
            return report_of(row)
        cursor.execute("SELECT reportid, reportname FROM dba.treportmanager ORDER BY reportid")
        known = ", ".join(f"{known_id} ({name})" for known_id, name in cursor)
    raise WrongCall(f"there is no report {report_id} in dba.treportmanager; it has {known or 'none yet'}")


def report_of(row: tuple[Any, ...]) -> Report:
    """Return the report that a row describes; the row has the columns of the query above."""
    report_id, name, status, subject, recipients, template, grids, has_attachment, attachments = row
    label = f"report {report_id} ({name})"
    return Report(
        report_id=report_id,
        name=str(name),
        is_on=status == ACTIVE,
        subject=str(subject),
        recipients=str(recipients or "").strip(),
        template=str(template),
        grids=_grids(label, grids),
        attachments=_attachments(label, attachments) if has_attachment else (),
    )


def _grids(label: str, value: object) -> tuple[Query, ...]:
    if value is None:
        return ()
    if not isinstance(value, dict) or not all(isinstance(sql, str) for sql in value.values()):
        raise ReportError(f'{label}: emailbodyqueries must be an object such as {{"grid1": "SELECT …"}}')
    return tuple(Query(name, sql) for name, sql in value.items())


def _attachments(label: str, value: object) -> tuple[Query, ...]:
    """Return the attachments of a row that says it has some; one that names none is not whole."""
    well_formed = isinstance(value, list) and all(
        isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get("query"), str)
        for item in value
    )
    if not isinstance(value, list) or not value or not well_formed:
        expected = '[{"name": "x_{timestamp}.csv", "query": "SELECT …"}]'
        raise ReportError(f"{label}: hasattachment is set, so attachmentqueries must be a list such as {expected}")
    return tuple(Query(item["name"], item["query"]) for item in value)
