"""The rows of dba.treportmanager and dba.treportrecipient as objects."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from systemscripts.errors import WrongCall
from systemscripts.reporting.chart_data import KINDS
from systemscripts.reporting.columns import grid_options, texts_by_name
from systemscripts.reporting.model import Chart, Edition, Query, Report, ReportError
from systemscripts.reporting.query_files import file_of, sql_of

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

ACTIVE = 1  # dba.tdatastatus

_SELECT = """
    SELECT reportid, reportname, datastatusid, subjectheader, toheader, emailbodytemplate, emailbodyqueries, hasattachment,
           attachmentqueries, emailbodycharts, emailbodyoptions, frequency::text,
           greatest(min_rows, skip_if_empty::integer), required_datasets,
           wait_until, when_late, locale, deliver_to
    FROM dba.treportmanager
    WHERE reportid = %s
"""
_EDITIONS = """
    SELECT is_active = B'1', reportrecipientid, coalesce(toheader, ''), parameters, locale, coalesce(deliver_to, '')
    FROM dba.treportrecipient
    WHERE reportid = %s ORDER BY reportrecipientid
"""


def report_id_of(connection: "Connection", wanted: str) -> int:
    """Return the id of the report with this number, or with this name (upper or lower case).

    Raises WrongCall if there is none or several; the message lists the reports.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT reportid, coalesce(reportname, '') FROM dba.treportmanager ORDER BY reportid")
        known = cursor.fetchall()
    fits = [number for number, _ in known if str(number) == wanted]
    fits = fits or [number for number, name in known if name.casefold() == wanted.casefold()]
    if len(fits) == 1:
        return int(fits[0])
    there_are = ", ".join(f"{number} ({name})" for number, name in known)
    told = f"{len(fits)} reports have the name {wanted!r}" if fits else f"there is no report {wanted}"
    raise WrongCall(f"{told} in dba.treportmanager; it has {there_are or 'none yet'}")


def load_report(connection: "Connection", report_id: int) -> Report:
    """Return the report of that id, active or not; raises WrongCall if there is no such row."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_SELECT, (report_id,))
        row = cursor.fetchone()
    if row is None:
        raise WrongCall(f"there is no report {report_id} in dba.treportmanager")
    return report_of(row)


def active_reports(connection: "Connection") -> list[int]:
    """Return the ids of the active reports."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT reportid FROM dba.treportmanager WHERE datastatusid = %s ORDER BY 1", (ACTIVE,))
        return [report_id for (report_id,) in cursor.fetchall()]


def editions_of(connection: "Connection", report: Report) -> list[Edition]:
    """Return the editions of the report to send: one for each client with an active row, or one for all if there are no rows.

    Raises ReportError if one has a folder, but the report makes no file.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(_EDITIONS, (report.report_id,))
        rows = cursor.fetchall()
    if not rows:
        return [Edition(0, report.recipients, deliver_to=report.deliver_to)]
    editions = [Edition(*row) for is_active, *row in rows if is_active]
    for edition in editions:
        if edition.deliver_to and not report.attachments:
            raise ReportError(
                f"{report.label}: row {edition.id} of dba.treportrecipient has deliver_to {edition.deliver_to!r}, but the report "
                "makes no file: fill attachmentqueries, and set hasattachment to true"
            )
    return editions


def report_of(row: tuple[Any, ...]) -> Report:
    """Return the report of a row; the row has the columns of the query above."""
    (
        report_id, name, status, subject, recipients, template, grids, has_attachment, attachments, charts, options,
        frequency, min_rows, required_datasets, wait_until, when_late, locale, deliver_to,
    ) = row  # fmt: skip
    label = f"report {report_id} ({name})"
    grids = {} if grids is None else grids
    if not isinstance(grids, dict) or not all(isinstance(sql, str) for sql in grids.values()):
        raise ReportError(f'{label}: emailbodyqueries must be an object such as {{"grid1": "SELECT …"}}')
    try:
        shown = grid_options(options, list(grids))
        queries = tuple(_query(key, sql) for key, sql in grids.items())
        drawn = tuple(_chart(key, chart) for key, chart in charts.items()) if isinstance(charts, dict) else ()
    except ReportError as error:
        raise ReportError(f"{label}: {error}") from None
    return Report(
        report_id=report_id,
        name=str(name),
        is_on=status == ACTIVE,
        subject=str(subject),
        recipients=str(recipients or "").strip(),
        template=str(template),
        grids=queries,
        attachments=_attachments(label, attachments) if has_attachment else (),
        charts=drawn,
        options=shown,
        frequency=str(frequency),
        min_rows=int(min_rows or 0),
        required_datasets=tuple(required_datasets or ()),
        wait_until=wait_until,
        when_late=str(when_late),
        locale=locale or "",
        deliver_to=str(deliver_to or ""),
    )


def _chart(name: str, value: object) -> Chart:
    if not name.isidentifier() or not isinstance(value, dict) or not isinstance(value.get("query"), str):
        raise ReportError(
            f'emailbodycharts must be an object such as {{"prices": {{"query": "SELECT …"}}}}; see {name!r}'
        )
    if unknown := value.keys() - {"query", "kind", "title"}:
        raise ReportError(f"chart {name} has {', '.join(sorted(unknown))}; it may have query, kind and title")
    kind, title = value.get("kind", "line"), value.get("title", "")
    if kind not in KINDS or not isinstance(title, str):
        raise ReportError(
            f"chart {name} has the kind {kind!r} and the title {title!r}; the kinds are {', '.join(KINDS)}"
        )
    query = _query(name, value["query"])
    return Chart(name, query.sql, kind, title, file=query.file)


def _query(name: str, text: str) -> Query:
    try:
        return Query(name, sql_of(text), file=file_of(text))
    except ReportError as error:
        raise ReportError(f"query {name}: {error}") from None


def _attachments(label: str, value: object) -> tuple[Query, ...]:
    """Return the attachments of a row; raises ReportError if hasattachment is set but none is named."""
    well_formed = isinstance(value, list) and all(
        isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get("query"), str)
        for item in value
    )
    if not isinstance(value, list) or not value or not well_formed:
        expected = '[{"name": "x_{timestamp}.csv", "query": "SELECT …"}]'
        raise ReportError(f"{label}: hasattachment is set, so attachmentqueries must be a list such as {expected}")
    for item in value:
        if not isinstance(item.get("attach_empty", False), bool):
            raise ReportError(
                f"{label}: attach_empty of {item['name']!r} must be true or false, not {item['attach_empty']!r}"
            )
    try:
        return tuple(
            replace(
                _query(item["name"], item["query"]),
                attach_empty=item.get("attach_empty", False),
                links=texts_by_name(f"links of {item['name']!r}", item.get("links", {})),
            )
            for item in value
        )
    except ReportError as error:
        raise ReportError(f"{label}: {error}") from None
