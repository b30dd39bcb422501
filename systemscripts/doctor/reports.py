"""Check that each active report can be made from its row and put into its folder, and that its files of SQL hold one query each."""

from collections.abc import Iterator

from systemscripts import db_config, job_catalog
from systemscripts.doctor import Check, Finding, failed, good
from systemscripts.errors import JobError
from systemscripts.exchange import outgoing
from systemscripts.reporting.queries import ReportQueries
from systemscripts.reporting.rows import active_reports, editions_of, load_report


def reports() -> Iterator[Finding]:
    """Check the rows of the active reports, and let PostgreSQL look at the queries in files as the role that runs them."""
    found, in_files = [], []
    with db_config.session(patience=0) as connection:
        active = active_reports(connection)
        for number in active:
            try:
                report = load_report(connection, number)
                editions = editions_of(connection, report)
            except JobError as problem:
                found.append(_unusable(number, problem))
                continue
            for folder in filter(None, (edition.deliver_to for edition in editions)):
                try:
                    outgoing.place_of(connection, folder)
                except JobError as problem:
                    found.append(_unusable(number, f"{report.label}: {problem}"))
            if any(query.file for query in report.queries):
                in_files.append((report, editions))
    with db_config.session(db_config.REPORT_ROLE, patience=0) as connection:
        for report, editions in in_files:
            queries = ReportQueries(connection, editions[0].parameters if editions else None)
            for query in report.queries:
                try:
                    if query.file:
                        queries.check(query)
                except JobError as problem:
                    found.append(_unusable(report.report_id, f"{report.label}: {problem}"))
    yield from found or [
        good("reports", f"{len(active)} active, their rows can be used; with SQL in files: {len(in_files)}")
    ]


def _unusable(number: int, problem: object) -> Finding:
    again = job_catalog.typed("send_reports.py", str(number), "--preview", "report.html")
    return failed("reports", str(problem), f"correct that, then: {again}")


CHECKS: dict[str, Check] = {"reports": reports}
