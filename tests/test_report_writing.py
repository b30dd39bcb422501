"""Numbers and dates in a report as its readers write them."""

import io
import re
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest

from systemscripts import settings
from systemscripts.reporting.attachments import attachment_of
from systemscripts.reporting.chart_data import alt_text, label_texts, number_texts
from systemscripts.reporting.model import Chart, Edition, GridOptions, ListText, Report, ReportError, Table
from systemscripts.reporting.render import Draft, make_draft
from systemscripts.reporting.tables import html_table, text_table
from systemscripts.reporting.template import BodyTemplate
from systemscripts.reporting.values import readable_numbers, readable_text
from systemscripts.reporting.writing import LOCALES, PLAIN, writing_of

DE = writing_of("de")
NEW_YEAR = datetime(2026, 12, 31, 14, 5)
SALES = Table(
    ("Day", "Seen", "Sales", "Share"),
    ((date(2026, 12, 31), NEW_YEAR, Decimal("12345.50"), 0.125), (date(2026, 3, 1), None, Decimal("-2.25"), None)),
)


@pytest.mark.parametrize(
    ("locale", "number", "day", "moment"),
    [
        (None, "1,234.50", "2026-12-31", "2026-12-31 14:05"),
        ("de", "1.234,50", "31.12.2026", "31.12.2026 14:05"),
        ("de-CH", "1’234.50", "31.12.2026", "31.12.2026 14:05"),
        ("en-GB", "1,234.50", "31/12/2026", "31/12/2026 14:05"),
        ("en-US", "1,234.50", "12/31/2026", "12/31/2026 2:05 PM"),
        ("fr", "1\u202f234,50", "31/12/2026", "31/12/2026 14:05"),
        ("sv", "1\xa0234,50", "2026-12-31", "2026-12-31 14:05"),
    ],
)
def test_numbers_and_dates_are_written_as_the_reader_does(
    locale: str | None, number: str, day: str, moment: str
) -> None:
    writing = writing_of(locale)
    assert writing.number("1,234.50") == number
    assert readable_text(date(2026, 12, 31), writing) == day
    assert readable_text(NEW_YEAR, writing) == moment


def test_other_values_stay_as_they_are() -> None:
    for value in (None, True, "1,234.50", ListText("{1.5,2}"), 7):
        assert readable_text(value, DE) == readable_text(value)
    assert readable_numbers("Account id", [12345678, None], DE) == ["12345678", ""]


def test_a_grid_and_its_text_twin_are_written_alike() -> None:
    options = GridOptions(formats={"Share": ".1%"}, totals=("Sales",), colours={"Sales": {"<0": "red"}}, writing=DE)
    html, text = html_table(SALES, options), text_table(SALES, options)
    for shown in ("31.12.2026", "31.12.2026 14:05", "12.345,50", "-2,25", "12,5%", "12.343,25"):
        assert shown in html
        assert shown in text
    assert html.count("#fbdcdc") == 1


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("%d %b %Y", "31 Dez. 2026"), ("%A, %-d. %B", "Donnerstag, 31. Dezember"), ("%x", "31.12.2026"),
        ("%c", "31.12.2026 14:05"), ("%H:%M %%b", "14:05 %b"),
    ],
)  # fmt: skip
def test_a_format_for_dates_has_the_names_of_the_locale(spec: str, shown: str) -> None:
    assert DE.moment(NEW_YEAR, spec) == shown
    assert PLAIN.moment(NEW_YEAR, "%d %b") == "31 Dec"


def test_the_labels_of_a_chart_are_written_alike() -> None:
    days = [datetime(2026, 3, 1), datetime(2026, 5, 10)]
    assert label_texts(days, days, DE) == ["1. März\n2026", "10. Mai\n "]
    assert label_texts(days, days, writing_of("en-US")) == ["Mar 1\n2026", "May 10\n "]
    assert label_texts([NEW_YEAR], [NEW_YEAR], DE) == ["14:05\n31. Dez. 2026"]
    assert number_texts([-1000.0, 0.0, 1000.0], DE) == ["−1.000", "0", "1.000"]
    table = Table(("Day", "Sales"), ((days[0], Decimal("12345.5")), (days[1], 7)))
    assert "first 12.345,5, last 7,0" in alt_text(Chart("c", "", "line", "Sales", DE), table)


def test_a_workbook_keeps_its_types_and_a_csv_its_texts() -> None:
    table = Table((*SALES.columns, "At"), tuple((*row, time(14, 5, 9)) for row in SALES.rows))
    assert attachment_of("x.csv", table, DE).content == attachment_of("x.csv", table).content
    sheet = openpyxl.load_workbook(io.BytesIO(attachment_of("x.xlsx", table, DE).content)).active
    assert sheet is not None
    cells = [(cell.value, cell.number_format) for cell in sheet[2]]
    assert cells[:3] == [
        (datetime(2026, 12, 31), "dd.mm.yyyy"), (NEW_YEAR, "dd.mm.yyyy hh:mm:ss"), (12345.5, "#,##0.00"),
    ]  # fmt: skip
    assert cells[4] == (time(14, 5, 9), "hh:mm:ss")
    assert writing_of("en-US").excel(datetime) == "mm\\/dd\\/yyyy h:mm:ss AM/PM"
    assert writing_of("da").excel(time) == "hh.mm.ss"


def test_the_time_in_the_subject_is_written_alike() -> None:
    draft = Draft("x", BodyTemplate("{{grid1}}", ["grid1"]), {}, {"grid1": SALES}, writing=DE)
    assert "12.345,50" in draft.mail().html
    assert "12.345,50" in draft.mail().text


REPORT = Report(7, "Sales", True, "S {timestamp}", "", "", (), (), locale="de")


@pytest.mark.parametrize(
    ("edition", "subject"),
    [(Edition(0, ""), r"S \d\d\.03\.2026 \d\d:20"), (Edition(1, "", locale="fr"), r"S \d\d/03/2026 \d\d:20")],
)
def test_a_client_may_have_a_locale_of_its_own(edition: Edition, subject: str) -> None:
    now = datetime(2026, 3, 2, 11, 20, tzinfo=UTC)
    draft = make_draft(REPORT, edition, None, now)  # type: ignore[arg-type] - it has no query
    assert re.fullmatch(subject, draft.subject)


def test_a_locale_that_is_not_known_is_named_with_those_that_are() -> None:
    told = r"report 7 \(Sales\): the locale 'xx' is not known; those that can be used are da, de, de-CH, "
    with pytest.raises(ReportError, match=told):
        make_draft(replace(REPORT, locale="xx"), Edition(0, ""), None, datetime.now(UTC))  # type: ignore[arg-type]


def test_the_tables_allow_the_same_locales() -> None:
    for name in ("create_treportmanager", "create_treportdelivery", "explain_checks"):
        text = Path(settings.project_dir(), "onboarding", "sql", f"{name}.sql").read_text()
        assert ", ".join(LOCALES) in text.replace("'", "")
