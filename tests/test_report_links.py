"""Cells of a report that are links: in the mail, in its text twin, and in a workbook."""

import io

import openpyxl
import pytest
from bs4 import BeautifulSoup

from systemscripts.reporting import xlsx_links
from systemscripts.reporting.attachments import attachment_of
from systemscripts.reporting.columns import grid_options
from systemscripts.reporting.links import address_of
from systemscripts.reporting.model import GridOptions, Query, ReportError, Table
from systemscripts.reporting.rows import report_of
from systemscripts.reporting.tables import html_table, text_table
from systemscripts.reporting.text_twin import text_of
from systemscripts.reporting.xlsx_file import xlsx_bytes

COMPANIES = Table(
    ("Company", "Page", "Staff"),
    (
        ("A & <b>", 'https://a.example/x?a=1&b=%20#top"', 7),
        ("Bolt", "https://bolt.example/ä?x=50%&y=1#top", 8),
        ("Core", "javascript:alert(1)", 9),
        (None, "https://empty.example", 10),
        ("Desk", " mailto:desk@example.com ", 11),
        ("Edge", None, 12),
    ),
)
LINKS = {"Company": "Page"}


@pytest.mark.parametrize(
    "address",
    [
        "https://a.example",
        "HTTP://a.example:8080/x",
        "https://müller.example/?q=ä",
        "mailto:a.b+c@example.com?subject=x",
    ],
)
def test_addresses_of_pages_and_mailboxes_can_be_links(address: str) -> None:
    assert address_of(address) == address


@pytest.mark.parametrize(
    "text",
    [
        None, 7, "", "a.example", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "ftp://a.example", "//a.example",
        "https://", "https:///x", "https://bank.example@other.example", 'https://a.example/"onclick="x', "https://a.example/<b>",
        "https://a.example/\nx", "https://a.example/a b", "https://a.example/\u202e", "java\nscript:x", "mailto:", "mailto:a",
        "https://a.example\\@b.example", "https://a.example/" + "x" * 2_000,
    ],
)  # fmt: skip
def test_anything_else_stays_text(text: object) -> None:
    assert address_of(text) is None


def test_a_cell_links_to_the_address_in_another_column_which_is_not_shown() -> None:
    html = html_table(COMPANIES, GridOptions(links=LINKS))
    page = BeautifulSoup(html, "html.parser")
    assert [cell.text for cell in page.find_all("th")] == ["Company", "Staff"]
    assert [(link.text, link["href"]) for link in page.find_all("a")] == [
        ("Bolt", "https://bolt.example/ä?x=50%&y=1#top"), ("Desk", "mailto:desk@example.com"),
    ]  # fmt: skip
    assert "A &amp; &lt;b&gt;" in html
    assert "javascript" not in html


def test_a_column_that_links_to_itself_is_shown() -> None:
    both = html_table(COMPANIES, GridOptions(links={**LINKS, "Page": "Page"}))
    page = BeautifulSoup(both, "html.parser")
    assert [cell.text for cell in page.find_all("th")] == ["Company", "Page", "Staff"]
    assert "https://empty.example" in [link["href"] for link in page.find_all("a")]


def test_the_text_twin_has_the_address_in_brackets() -> None:
    lines = text_table(COMPANIES, GridOptions(links=LINKS, totals=("Staff",))).splitlines()
    assert "Bolt (https://bolt.example/ä?x=50%&y=1#top)      8" in lines
    assert [line.split()[0] for line in lines[2:5]] == ["A", "Bolt", "Core"]
    assert text_table(Table(("x",), (("https://a.example",),)), GridOptions(links={"x": "x"})).endswith(
        "\nhttps://a.example"
    )
    assert text_of('<a href="mailto:a@b.example">Desk</a>') == "Desk (mailto:a@b.example)\n"


def test_a_workbook_has_real_links_and_a_csv_none() -> None:
    sheet = openpyxl.load_workbook(io.BytesIO(attachment_of("x.xlsx", COMPANIES, links=LINKS).content)).active
    assert sheet is not None
    assert [cell.value for cell in sheet[1]] == ["Company", "Page", "Staff"]
    links = {cell.coordinate: cell.hyperlink for (cell,) in sheet["A1:A7"] if cell.hyperlink}
    assert {where: (link.target, link.location) for where, link in links.items()} == {
        "A3": ("https://bolt.example/%C3%A4?x=50%25&y=1", "top"), "A6": ("mailto:desk@example.com", None),
    }  # fmt: skip
    assert (sheet["A3"].value, sheet["A3"].font.underline, sheet["A4"].font.underline) == ("Bolt", "single", None)
    assert attachment_of("x.csv", COMPANIES, links=LINKS) == attachment_of("x.csv", COMPANIES)


def test_more_links_than_a_workbook_holds_stay_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(xlsx_links, "MOST_LINKS", 1)
    sheet = openpyxl.load_workbook(io.BytesIO(xlsx_bytes(COMPANIES, "x", links=LINKS))).active
    assert sheet is not None
    assert [cell.coordinate for (cell,) in sheet["A1:A7"] if cell.hyperlink] == ["A3"]
    assert "a workbook holds 1 links; the last 1 of 2 stay text" in caplog.text


@pytest.mark.parametrize("links", [{"Firm": "Page"}, {"Company": "Url"}])
def test_a_column_that_is_not_there_is_named_with_those_that_are(links: dict[str, str]) -> None:
    told = "links has the column '(Firm|Url)', but the columns are: Company, Page, Staff"
    with pytest.raises(ReportError, match=told):
        html_table(COMPANIES, GridOptions(links=links))
    with pytest.raises(ReportError, match=told):
        xlsx_bytes(COMPANIES, "x", links=links)


@pytest.mark.parametrize("links", [["Company"], {"Company": 7}, "Company"])
def test_links_that_are_not_well_formed_are_refused(links: object) -> None:
    with pytest.raises(ReportError, match=r"g, links.* (object|column)"):
        grid_options({"g": {"links": links}}, ["g"])
    file = {"name": "x.xlsx", "query": "", "links": links}
    row = (7, "S", 1, "S", "", "", None, True, [file], None, None, "@daily", 0, None, None, "skip", None, "")
    with pytest.raises(ReportError, match=r"report 7 \(S\): links of 'x.xlsx'.* (object|column)"):
        report_of(row)


def test_the_links_of_a_file_come_with_its_row() -> None:
    files = [{"name": "x.xlsx", "query": "SELECT 1", "links": LINKS}]
    row = (7, "S", 1, "S", "", "", None, True, files, None, None, "@daily", 0, None, None, "skip", None, "")
    assert report_of(row).attachments == (Query("x.xlsx", "SELECT 1", links=LINKS),)
