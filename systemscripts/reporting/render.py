"""Make the mail of a report."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from markupsafe import Markup, escape

from systemscripts import settings
from systemscripts.mail.composing import Attachment, Mail, MailError
from systemscripts.plain_text import on_its_lines
from systemscripts.reporting.attachments import attachment_of, file_names
from systemscripts.reporting.cell_formats import PALETTE
from systemscripts.reporting.chart_data import alt_text
from systemscripts.reporting.freshness import DatasetState, as_shown, in_a_line, partial_sentence, partial_subject
from systemscripts.reporting.images import Images
from systemscripts.reporting.model import Chart, Edition, GridOptions, Report, ReportError, Table
from systemscripts.reporting.queries import ReportQueries
from systemscripts.reporting.tables import NO_ROWS, html_table, text_table
from systemscripts.reporting.template import FRESHNESS, TIMESTAMP, BodyTemplate, Shown, fill_line
from systemscripts.reporting.values import readable_text
from systemscripts.reporting.writing import PLAIN, Writing, writing_of

log = logging.getLogger(__name__)

MOST_CHART_ROWS = 2_000
MOST_CHARACTERS = 500_000  # of one grid
GMAIL_CUTS_AT = 102_000  # bytes of HTML

_NOT_ATTACHED = Markup("<p><i>Not attached, because it has no rows: {}</i></p>")

_AMBER = PALETTE["amber"]
# Outlook draws the background of a cell, not of a paragraph. The pair of colours is that of amber cells.
_TOP = Markup(
    '<table cellpadding="10" cellspacing="0" border="0" width="100%"><tr><td bgcolor="{}" style="color:{};'
    'font-family:Arial,Helvetica,sans-serif;font-size:14px;overflow-wrap:anywhere"><b>{}</b></td></tr></table>'
)

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{subject}</title>
</head>
<body style="margin:0;padding:16px;background-color:#ffffff">
<div style="font-family:Arial,Helvetica,sans-serif;font-size:14px;line-height:1.5;color:#1f2933;word-wrap:break-word">
{body}
</div>
</body>
</html>
"""


@dataclass(frozen=True)
class Draft:
    """A report with its data; `values` are the texts of its placeholders; tables are by the name of their query.

    The files in `attached_empty` are attached even if they have no rows; `links` are by the name of a file.
    `datasets` are what `{{freshness}}` shows; `partial` is the sentence for the top of a report that goes although
    some of them are missing.
    """

    subject: str
    body: BodyTemplate
    values: Mapping[str, str]
    grids: Mapping[str, Table]
    options: Mapping[str, GridOptions] = field(default_factory=dict)
    charts: Mapping[Chart, Table] = field(default_factory=dict)
    files: Mapping[str, Table] = field(default_factory=dict)
    attached_empty: frozenset[str] = frozenset()
    datasets: Sequence[DatasetState] = ()
    partial: str = ""
    writing: Writing = PLAIN
    links: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def row_count(self) -> int:
        return sum(len(table.rows) for group in (self.grids, self.charts, self.files) for table in group.values())

    @cached_property
    def attachments(self) -> tuple[Attachment, ...]:
        """The files; one without rows is left out, unless its row says otherwise. Raises ReportError."""
        made = []
        for name, table in self.files.items():
            if name not in self._left_out:
                try:
                    made.append(attachment_of(name, table, self.writing, self.links.get(name)))
                except ReportError as error:
                    raise ReportError(f"attachment {name}: {error}") from error
        return tuple(made)

    @property
    def _left_out(self) -> list[str]:
        return [name for name, table in self.files.items() if not table.rows and name not in self.attached_empty]

    def mail(self) -> Mail:
        """Return the mail; a file that is left out is named in it. Raises ReportError and MailError."""
        # Rendering a table with more than a mail can show would take too long.
        for name, table in self.grids.items():
            size = sum(len(str(value)) for row in table.rows for value in row)
            if size > MOST_CHARACTERS:
                raise ReportError(
                    f"query {name} has {size:,} characters, but a mail shows at most {MOST_CHARACTERS:,}; "
                    "shorten its texts, or attach it as a file"
                )
        note = str(Markup("").join(map(_NOT_ATTACHED.format, self._left_out)))
        images = Images()
        top = str(_TOP.format(_AMBER.background, _AMBER.text, self.partial)) if self.partial else ""
        grids = self._grids(images)
        if self.body.shows_freshness:
            grids[FRESHNESS] = as_shown(self.datasets)
        body, text = self.body.render(grids, self._charts(images), self.values, note, top)
        html = page(self.subject, body)
        if len(html.encode()) > GMAIL_CUTS_AT:
            log.warning(
                "the body has %s bytes, but Gmail cuts it at %s", f"{len(html.encode()):,}", f"{GMAIL_CUTS_AT:,}"
            )
        return Mail(
            subject=self.subject,
            text=on_its_lines(text),
            html=html,
            attachments=self.attachments,
            # The template may leave out some of the drawn pictures.
            images=tuple(image for image in images.found.values() if image.cid in html),
        )

    def _grids(self, images: Images) -> dict[str, Shown]:
        return {
            name: Shown(
                len(table.rows),
                self._named(lambda table, options: html_table(table, options, images.drawing), name),
                self._named(lambda table, options: Markup("<pre>{}</pre>").format(text_table(table, options)), name),
            )
            for name, table in self.grids.items()
        }

    def _charts(self, images: Images) -> dict[str, Shown]:
        shown = {}
        for chart, table in self.charts.items():
            picture = images.chart(chart, table)
            words = alt_text(chart, table) if table.rows else f"{chart.title or chart.name}: {NO_ROWS}"
            shown[chart.name] = Shown(len(table.rows), picture, Markup("<p>[{}]</p>").format(words))
        return shown

    def _named(self, grid: Callable[[Table, GridOptions], Markup], name: str) -> Markup:
        try:
            return grid(self.grids[name], replace(self.options.get(name, GridOptions()), writing=self.writing))
        except ReportError as error:
            raise ReportError(f"emailbodyoptions of {name}: {error}") from None


def make_draft(
    report: Report,
    edition: Edition,
    queries: ReportQueries,
    now: datetime,
    datasets: Sequence[DatasetState] = (),
    is_partial: bool = False,
) -> Draft:
    """Return the edition of the report with the data of this moment.

    `datasets` are the required ones, as the same queries see them; a partial report says which are missing.

    Placeholders and file names are checked before the first query runs. Raises a ReportError that
    names the report and its fault.
    """
    try:
        own_names = [*(grid.name for grid in report.grids), *(chart.name for chart in report.charts)]
        if taken := sorted({TIMESTAMP, *own_names} & edition.parameters.keys()):
            name = f"a parameter of its edition {edition.id} has the name {taken[0]}"
            raise ReportError(f"{name}, which is the report's own")
        writing = _writing(report, edition)
        values = {TIMESTAMP: readable_text(now, writing), **edition.parameters}
        names = file_names(report.attachments, {**values, TIMESTAMP: f"{now:%Y%m%dT%H%M%S}"})
        body = BodyTemplate(
            report.template,
            [grid.name for grid in report.grids],
            [chart.name for chart in report.charts],
            tuple(edition.parameters),
        )
        if unused := [name for name in own_names if name not in (*body.used, *body.used_charts)]:
            log.warning("%s: its template does not show %s, so that query is not run", report.label, ", ".join(unused))
        # An edition's own parameter of this name comes first, as it did before there was this placeholder.
        subject = fill_line("subjectheader", report.subject, {FRESHNESS: in_a_line(datasets), **values})
        files = dict(zip(names, report.attachments, strict=True))
        return Draft(
            subject=partial_subject(subject, datasets) if is_partial else subject,
            body=body,
            values=values,
            grids={
                grid.name: queries.run(grid, report.options.get(grid.name, GridOptions()).rows)
                for grid in report.grids
                if grid.name in body.used
            },
            options=report.options,
            charts={
                replace(chart, writing=writing): queries.run(chart.query, MOST_CHART_ROWS)
                for chart in report.charts
                if chart.name in body.used_charts
            },
            files={
                name: queries.run(replace(query, name=name), settings.report_rows()) for name, query in files.items()
            },
            attached_empty=frozenset(name for name, query in files.items() if query.attach_empty),
            datasets=datasets,
            partial=partial_sentence(datasets) if is_partial else "",
            writing=writing,
            links={name: query.links for name, query in files.items()},
        )
    except ReportError as error:
        raise ReportError(f"{report.label}: {error}") from error


def _writing(report: Report, edition: Edition) -> Writing:
    try:
        return writing_of(edition.locale or report.locale)
    except ValueError as error:
        raise ReportError(str(error)) from None


def mail_of(report: Report, draft: Draft) -> Mail:
    """Return the draft's mail; raises a ReportError or MailError that names the report."""
    try:
        return draft.mail()
    except (ReportError, MailError) as error:
        raise type(error)(f"{report.label}: {error}") from error


def files_of(report: Report, draft: Draft) -> tuple[Attachment, ...]:
    """Return the draft's files; raises a ReportError that names the report."""
    try:
        return draft.attachments
    except ReportError as error:
        raise ReportError(f"{report.label}: {error}") from error


def page(subject: str, body: str) -> str:
    """Return the body as a whole page; control characters and those that turn the writing are written out."""
    return on_its_lines(body if "<html" in body.lower() else _PAGE.format(subject=escape(subject), body=body))
