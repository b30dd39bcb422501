"""A report as the mail that its readers get."""

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage

from markupsafe import Markup, escape

from systemscripts import mail_utils, settings
from systemscripts.mail_utils import Attachment, Mail, MailError
from systemscripts.reporting.attachments import attachment_of, file_names
from systemscripts.reporting.model import Query, Report, ReportError, Table
from systemscripts.reporting.queries import ReportQueries
from systemscripts.reporting.template import BodyTemplate, fill_line, readable_time
from systemscripts.reporting.text_twin import text_of

log = logging.getLogger(__name__)

MOST_GRID_ROWS = 1_000
GMAIL_CUTS_AT = 102_000  # bytes of HTML

_NOT_ATTACHED = Markup("<p><i>Not attached, because it has no rows: {}</i></p>")

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{subject}</title>
</head>
<body style="margin:0;padding:16px;background-color:#ffffff">
<div style="font-family:Arial,Helvetica,sans-serif;font-size:14px;line-height:1.5;color:#1f2933">
{body}
</div>
</body>
</html>
"""


def make_mail(report: Report, queries: ReportQueries, now: datetime) -> Mail:
    """Return the report's mail, with the data of this moment.

    Placeholders and file names are checked before the first query runs. Raises
    ReportError or MailError that names the report and what in it is wrong.
    """
    try:
        timestamp = readable_time(now)
        subject = fill_line("subjectheader", report.subject, timestamp)
        body = BodyTemplate(report.template, tuple(grid.name for grid in report.grids))
        names = file_names(report.attachments, now)
        _say_what_is_not_used(report, body)
        tables = {grid.name: queries.run(grid, MOST_GRID_ROWS) for grid in report.grids if grid.name in body.used}
        files = dict(zip(names, _attachment_tables(report.attachments, queries), strict=True))
        return build_mail(subject, body, tables, files, timestamp)
    except (ReportError, MailError) as error:
        raise type(error)(f"{report.label}: {error}") from error


def build_mail(
    subject: str, body: BodyTemplate, tables: Mapping[str, Table], files: Mapping[str, Table], timestamp: str
) -> Mail:
    """Return the mail that shows these tables and carries those files; a file without rows is named instead of sent."""
    empty = [name for name, table in files.items() if not table.rows]
    note = str(Markup("").join(map(_NOT_ATTACHED.format, empty)))
    html = page(subject, body.html(tables, timestamp) + note)
    if len(html.encode()) > GMAIL_CUTS_AT:
        log.warning("the body has %s bytes, and Gmail cuts it at %s", f"{len(html.encode()):,}", f"{GMAIL_CUTS_AT:,}")
    return Mail(
        subject=subject,
        text=text_of(body.html_for_text(tables, timestamp) + note),
        html=html,
        attachments=tuple(_attachments(files)),
    )


def message_of(report: Report, mail: Mail, now: datetime) -> EmailMessage:
    """Return the whole message: to the report's recipients, or to its owner where it has none yet."""
    try:
        sender = mail_utils.addresses(settings.email_address()) or (Address("no sender set", "nobody", "localhost"),)
        recipients = mail_utils.addresses(report.recipients or settings.alert_email())
        return mail_utils.compose(mail, sender[0], recipients, now)
    except MailError as error:
        raise MailError(f"{report.label}: {error}") from error


def page(subject: str, body: str) -> str:
    """Return the body as a page; a template that is one already stays as it is."""
    if "<html" in body.lower():
        return body
    return _PAGE.format(subject=escape(subject), body=body)


def _attachment_tables(attachments: tuple[Query, ...], queries: ReportQueries) -> Iterator[Table]:
    for query in attachments:
        yield queries.run(query, settings.report_rows())


def _attachments(files: Mapping[str, Table]) -> Iterator[Attachment]:
    for name, table in files.items():
        if not table.rows:
            continue
        try:
            yield attachment_of(name, table)
        except ReportError as error:
            raise ReportError(f"attachment {name}: {error}") from error


def _say_what_is_not_used(report: Report, body: BodyTemplate) -> None:
    unused = [grid.name for grid in report.grids if grid.name not in body.used]
    if unused:
        log.warning("%s: its template does not show %s, which is not run", report.label, ", ".join(unused))
